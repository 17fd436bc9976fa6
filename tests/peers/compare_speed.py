# SPDX-License-Identifier: Apache-2.0
"""bench/peers/compare.py still works: every peer that is here is compared in each network that it has, outputs and the
losses of a training loop agree, and a peer that fails costs no more than its row.

    python compare_speed.py LIBGATEKERN.SO     or GATEKERN_LIBRARY=...

The speeds of these short runs mean nothing. oneDNN is compared where bench/peers/build_onednn has put peer_onednn
beside the library.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np

PEERS = Path(__file__).resolve().parents[2] / "bench" / "peers"
sys.path[:0] = [str(PEERS)]

import training  # noqa: E402
from bars import GATES, Row, parse_shape  # noqa: E402
from compare import check_whole, measure_rounds, result_of, text_of_disturbance  # noqa: E402
from contestants import Failed, NoAnswer, NotOffered, Worker, make_data  # noqa: E402

# The peers that have each network; ONNX Runtime without gradients and without a cap of the instruction set only.
PYTORCH, ALL_BUT_PYTORCH = {"pytorch", "packed"}, {"onednn", "onnxruntime"}
NETWORKS = {"lstm,33,20,3,5": PYTORCH | ALL_BUT_PYTORCH, "gru,20,20,3,5,2": PYTORCH | ALL_BUT_PYTORCH,
            "rnn,20,33,3,5": PYTORCH | ALL_BUT_PYTORCH, "gru-reset-before,20,24,3,5": ALL_BUT_PYTORCH,
            "lstm,9,20,3,5,bidirectional": PYTORCH | ALL_BUT_PYTORCH,
            "gru,9,20,3,5,2,bidirectional": PYTORCH | {"onnxruntime"}, "mgu,9,20,3,5": set(),
            "gru-simplified,9,20,3,5,2,bidirectional": set()}


class Session:
    """The library, its program, and which peers are here."""

    def __init__(self, library, folder):
        self.library, self.folder = library, folder
        self.program, self.onednn = library.parent / "gatekern", library.parent / "peer_onednn"
        self.here = PYTORCH | {"onnxruntime"} | ({"onednn"} if self.onednn.exists() else set())
        if "onednn" not in self.here:
            print(f"oneDNN is not compared: there is no {self.onednn}, see bench/peers/build_onednn")

    def command(self, *more, onednn=None):
        return list(map(str, [sys.executable, PEERS / "compare.py", "--rounds", "1", "--seconds", "0.01", "--out",
                              self.folder / "out.jsonl", "--program", self.program, "--library", self.library,
                              "--onednn", onednn or self.onednn, *more]))

    def rows(self):
        return [json.loads(line) for line in (self.folder / "out.jsonl").read_text().splitlines()[1:]]

    def compare(self, *more, onednn=None):
        """Exit status, lines of the report, and what was printed."""
        command = self.command(*more, onednn=onednn)
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        print(" ".join(command), result.stdout, result.stderr, sep="\n")
        return result.returncode, self.rows(), result.stdout + result.stderr


def check_gates_are_those_of_the_library(session):
    c = ctypes.CDLL(str(session.library))
    c.gk_cell_name.restype = ctypes.c_char_p
    gates = {c.gk_cell_name(cell).decode(): c.gk_cell_gates(cell) for cell in range(c.gk_cell_count())}
    assert GATES == gates, (GATES, gates)


def check_like_is_compared_with_like(row):
    """Packing is counted where the peer's preparation of weights is."""
    ours, onednn = row["gatekern"], row["peers"].get("onednn")
    if onednn and row["pass"] == "step":
        theirs, with_reorders = onednn["best"], onednn["best_with_reorders"]
        wanted = {"ratio": theirs / ours["prepacked_best"], "ratio_with_reorders": with_reorders / ours["best"],
                  "ratio_packing_alone": theirs / ours["best"]}
        assert {key: onednn[key] for key in wanted} == wanted, row
    for name, peer in row["peers"].items():
        if (name, row["pass"]) != ("onednn", "step"):
            assert peer["ratio"] == peer["best"] / ours["best"] and "ratio_packing_alone" not in peer, row


def check_every_peer_is_compared(session, networks, passes, isa="auto"):
    without = set() if passes == "inference" and isa != "avx2" else {"onnxruntime"}
    shapes = [word for network in networks for word in ("--shape", network)]
    peers = ",".join(sorted(session.here))
    status, rows, _ = session.compare("--pass", passes, "--isa", isa, "--peers", peers, *shapes)
    assert status == 0 and len(rows) == len(networks), "what peers do not offer fails no row"
    for network, row in zip(networks, rows):
        assert "error" not in row, (network, row)
        assert row["gatekern"]["best"] > 0 and isa in ("auto", row["gatekern"]["isa"]), (network, row["gatekern"])
        check_like_is_compared_with_like(row)
        wanted = (NETWORKS[network] & session.here) - without
        assert set(row["peers"]) == wanted, f"{network}, {passes}, {isa}: {sorted(row['peers'])}, not {sorted(wanted)}"


def has_avx2(session):
    info = subprocess.run([session.program, "info", "--no-measure", "--json"], check=True, capture_output=True).stdout
    return any(tier["isa"] == "avx2" and tier["usable"] for tier in json.loads(info)["tiers"])


def make_program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def check_options_without_effect_are_refused(session):
    for option in (("--pass", "forward"), ("--isa", "avx2"), ("--text", __file__), ("--training-steps", "3")):
        status, _, text = session.compare("--bars", "small-batch", *option)
        assert status == 2 and f"{option[0]}: there is no --" in text, (status, text)


def check_options_out_of_range_are_refused(session):
    """By both scripts, in one line, before anything that was written is overwritten."""
    kept, program = session.folder / "out.jsonl", session.library.parent / "gatekern-bench-options"
    kept.write_text("kept\n")
    of_all = [(("--seconds", "0"), "--seconds is 0, must be from"), (("--seconds", "nan"), "--seconds is nan"),
              (("--rounds", "0"), "--rounds is 0"), (("--threads", "0"), "--threads is 0"),
              (("--patience", "-1"), "--patience is -1"), (("--library", __file__), "--library: "),
              (("--out", "/proc/nosuch"), "/proc/nosuch")]
    compare = session.command("--peers", "onednn", "--shape", "rnn,3,4,2,3")
    ragged = [sys.executable, PEERS / "compare_ragged.py", program, "--library", session.library, "--out", kept]
    refused = [(compare, *case) for case in of_all] + [(ragged, *case) for case in of_all if program.exists()]
    refused += [(compare, ("--program", "/bin/true"), "--program: /bin/true info --json gives no JSON"),
                (compare, ("--isa", "scalar"), "--isa scalar: no peer"),
                *([(ragged, ("--cells", "mgu"), "--cells: no mgu; there are")] if program.exists() else [])]
    for command, option, said in refused:
        result = subprocess.run([*command, *option], capture_output=True, text=True, timeout=60)
        assert result.returncode == 2 and said in result.stderr.splitlines()[-1], (option, result)
        assert "Traceback" not in result.stderr and kept.read_text() == "kept\n", (option, result)


def check_ragged_lengths(session):
    """Outputs are compared, both are timed, and what the report reads of it is written."""
    program = session.library.parent / "gatekern-bench-options"
    if not program.exists():
        print(f"ragged lengths are not compared: there is no {program}")
        return
    out = session.folder / "ragged.jsonl"
    subprocess.run([sys.executable, PEERS / "compare_ragged.py", program, "--library", session.library, "--out", out,
                    "--cells", "gru", "--rounds", "2", "--seconds", "0.02"], timeout=300)  # speeds mean nothing
    header, *rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert header["header"]["versions"]["packed"] and len(rows) == 2, (header, rows)
    for row in rows:
        assert row["median"] >= row["best"] > 0 and row["packed_median"] >= row["packed"] > 0, row
        assert row["spread"] >= 0 and row["packed_spread"] >= 0 and 0 < row["difference"] < 1e-4, row


def check_a_peer_that_does_not_start_is_left_out(session):
    program = make_program(session.folder / "does-not-start", "echo no such library >&2; exit 127")
    status, rows, text = session.compare("--peers", "onednn", "--shape", "rnn,3,4,2,3", onednn=program)
    assert status == 1 and rows[0]["peers"] == {} and rows[0]["unmeasured"] == ["onednn"], (status, rows)
    assert "oneDNN is left out" in text and "no such library" in text and "NOT MEASURED: oneDNN" in text, text
    _, _, text = session.compare("--peers", "onednn", "--shape", "rnn,3,4,2,3", onednn=session.folder / "nosuch")
    assert "nosuch, which bench/peers/build_onednn makes" in text, text


def check_a_peer_that_hangs_is_left_out(session):
    program = make_program(session.folder / "hangs", 'case "$*" in *--data*) exec sleep 60; esac\n'
                           'echo \'{"peer": "oneDNN 0"}\'')
    status, rows, text = session.compare("--peers", "onednn", "--shape", "rnn,3,4,2,3", "--patience", "2",
                                         onednn=program)
    assert status == 1 and rows[0]["left_out"] == {"onednn": "gave no answer in 2 s"}, (status, rows)
    assert "oneDNN: gave no answer in 2 s" in text and rows[0]["gatekern"]["best"] > 0, text


def check_a_peer_that_hangs_while_it_is_timed_is_left_out():
    """The others' rounds go on without it."""
    def hang(*_):
        raise NoAnswer(7)
    left_out, ours, hanging = {}, SimpleNamespace(measure=lambda *_: {}), SimpleNamespace(measure=hang)
    rounds, _ = measure_rounds(None, {"gatekern": ours, "onednn": hanging, "prepacked": ours}, left_out,
                               SimpleNamespace(rounds=2, seconds=0), None)
    assert rounds == {"gatekern": [{}, {}]} and str(left_out["onednn"]) == "gave no answer in 7 s", (rounds, left_out)


def made_up(best, **more):
    return {"best": best, "median": best, "forward_best": best, "forward_median": best, "peak_gflops": 100.0,
            "sustained_gflops": 90.0, "core_to_core_ns": 45.0, "checksum": "a", "isa": "avx2", **more}


def result_of_made_up(rounds, passes="step", group="", ceilings=None, **at_least):
    row = Row(parse_shape("lstm,3,4,2,3"), passes, ["onednn"], "auto", at_least, group)
    return result_of(row, rounds, {"onednn": 0.0}, {}, {}, ceilings)


def check_results_of_made_up_rounds():
    ours, without = made_up(2.0), made_up(1.0, peak_gflops=120.0)
    rounds = {"gatekern": [ours], "prepacked": [without], "onednn": [made_up(1.5, best_with_reorders=3.5)]}
    result = result_of_made_up(rounds, onednn=1.6, peak=0.5)
    peer = result["peers"]["onednn"]
    assert (peer["ratio"], peer["ratio_with_reorders"], peer["ratio_packing_alone"]) == (1.5, 1.75, 0.75), peer
    own = result["gatekern"]
    assert (own["best"], own["peak_gflops"], own["lowest_peak_gflops"]) == (2.0, 120.0, 100.0), own
    assert result["missed"] == ["onednn", "peak"] and result["unmeasured"] == [], result
    assert result_of_made_up(rounds, onednn=1.5, peak=0)["missed"] == [], "both are reached"
    assert text_of_disturbance(result) == [], "threads stayed where they were"
    moved = {**rounds, "prepacked": [made_up(1.0, core_to_core_ns=240.0)]}
    assert text_of_disturbance(result_of_made_up(moved)) == ["MOVED: from core to core 45–240 ns"]
    ceilings = {"tiers": [{"isa": "avx2", "peak_gflops": 200.0}, {"isa": "avx512", "peak_gflops": 300.0}]}
    own = result_of_made_up(rounds, ceilings=ceilings)["gatekern"]
    assert (own["peak_gflops"], own["lowest_peak_gflops"]) == (200.0, 100.0), own
    forward = {"gatekern": [ours], "onednn": [made_up(1.5)]}
    assert result_of_made_up(forward, "inference", onednn=1.0)["missed"] == ["onednn"]
    try:
        result_of_made_up({**rounds, "prepacked": [made_up(1.0, checksum="b")]}, onednn=1.0)
    except Failed as failure:
        assert "a, b" in str(failure), failure
    else:
        raise AssertionError("packed weights changed a result, and nobody said so")


def check_what_is_not_measured_fails():
    """But for peers that do not offer the network, where they were only asked for."""
    rounds, why = {"gatekern": [made_up(2.0)]}, NotOffered("has no such cell")
    for asked, bar, left_out, unmeasured in ((True, {}, {}, ["onednn"]), (True, {}, {"onednn": why}, []),
                                             (True, {"onednn": 1.1}, {"onednn": why}, ["onednn"]),
                                             (False, {"onednn": 1.1}, {"onednn": why}, ["onednn"]),
                                             (False, {}, {}, [])):
        row = Row(parse_shape("lstm,3,4,2,3"), "inference", ["onednn"], "auto", bar, asked=asked)
        result = result_of(row, rounds, {}, left_out, {}, None)
        assert result["unmeasured"] == unmeasured, (asked, bar, left_out, result["unmeasured"])


def check_half_a_result_is_refused():
    shapes, whole = {"y": (3, 2), "dx": (3, 1)}, {"y": np.ones((3, 2)), "dx": np.ones((3, 1))}
    check_whole(whole, shapes)
    for part in ({"y": whole["y"]}, {**whole, "dx": np.ones(2)}, {**whole, "dx": np.zeros((3, 1))}):
        try:
            check_whole(part, shapes)
        except ValueError:
            continue
        raise AssertionError(f"not refused: {part}")


def check_two_per_cent_near_the_peak():
    """They decide nothing where both are near it, in the steps that are compared: packing is not in them."""
    peak = parse_shape("lstm,3,4,2,3").flop(True) * 1e-9 / 0.95
    for group, ratio, missed in (("anywhere", 0.99, []), ("anywhere", 0.97, ["onednn"]), ("", 0.99, ["onednn"])):
        rounds = {"gatekern": [made_up(2.0, peak_gflops=peak)], "prepacked": [made_up(1.0, peak_gflops=peak)],
                  "onednn": [made_up(ratio, best_with_reorders=2 * ratio)]}
        assert result_of_made_up(rounds, group=group, onednn=1.0)["missed"] == missed, (group, ratio)


def check_what_was_compared_before_it_was_stopped_is_kept(session):
    table = session.folder / "table.md"
    command = session.command("--peers", "pytorch", "--shape", "rnn,3,4,2,3", "--markdown", table,
                              *["--shape", "rnn,64,64,64,200"] * 100)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:
        while not process.stdout.readline().startswith("rnn-i3-h4-n2-t3 "):  # warnings may come first
            assert process.poll() is None, command
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
        text, _ = process.communicate(timeout=60)
    rows = session.rows()
    assert process.returncode == 130 and "Traceback" not in text, (process.returncode, text)
    assert f"stopped by the user; compared: {len(rows)} of 101 networks" in text and 0 < len(rows) < 101, text
    assert "| rnn-i3-h4-n2-t3 |" in table.read_text(), table.read_text()


def check_a_package_that_is_missing_is_named(session):
    (session.folder / "torch.py").write_text("raise ImportError('no torch today')\n")
    with mock.patch.dict(os.environ, PYTHONPATH=str(session.folder)):
        status, rows, text = session.compare("--peers", "pytorch", "--shape", "rnn,3,4,2,3")
    assert status == 1 and rows[0]["peers"] == {} and "Traceback" not in text, (status, text)
    assert "PyTorch is left out, it does not start: no torch today" in text and "PyTorch: is not here" in text, text


def check_a_peer_that_fails_costs_its_row_only(session):
    """It starts, but runs no network."""
    program = make_program(session.folder / "fails", 'case "$*" in *--data*) echo out of luck >&2; exit 1; esac\n'
                           'echo \'{"peer": "oneDNN 0"}\'')
    status, rows, text = session.compare("--peers", "onednn", "--shape", "rnn,3,4,2,3", "--shape", "mgu,3,4,2,3",
                                         onednn=program)
    assert status == 1 and len(rows) == 2, (status, rows)
    assert rows[0]["error"] == "oneDNN failed: out of luck" and "FAILED" in text, rows[0]
    assert rows[1]["gatekern"]["best"] > 0, rows[1]


def check_a_worker_that_dies_or_hangs_is_started_again(session):
    row, worker = Row(parse_shape("rnn,3,4,2,3"), "step", ["pytorch"]), Worker("pytorch", 1, 60)
    make_data(row.shape, session.folder)
    for disturb, expected in ((signal.SIGKILL, "exit status -9"), (signal.SIGSTOP, "no answer in 0.5 s")):
        worker.processes["auto"].send_signal(disturb)
        worker.patience = 0.5
        try:
            worker.results(row, session.folder)
        except (RuntimeError, NoAnswer) as error:
            assert expected in str(error), error
        else:
            raise AssertionError("a process answered that cannot")
        worker.patience = 60
        assert worker.results(row, session.folder)["y"].shape == (3, 2, 4)
    worker.close()


def check_onednn_is_found_from_every_folder(session):
    """peer_onednn was built with a relative folder of the library."""
    prefix, program = Path(sys.prefix), session.folder / "peer_onednn"
    if not (prefix / "include" / "dnnl.h").exists():
        print(f"build_onednn is not tried: no dnnl.h in {prefix}/include")
        return
    subprocess.run([PEERS / "build_onednn", prefix.name, program], check=True, cwd=prefix.parent)
    subprocess.run([program, "--cell", "rnn", "--input", "3", "--hidden", "4", "--batch", "2", "--time", "3",
                    "--seconds", "0.001"], check=True, cwd="/", stdout=subprocess.DEVNULL)


def check_training_starts_alike(session):
    table = session.folder / "training.md"
    _, rows, text = session.compare("--bars", "training", "--filter", "lstm 2x128", "--training-steps", "2",
                                    "--markdown", table)
    assert "No peer" not in table.read_text() and ". PyTorch " in table.read_text(), table.read_text()
    assert len(rows) == 1 and rows[0].get("loss_difference", 1) <= training.LARGEST_LOSS_DIFFERENCE, (rows, text)


def check_disturbed_training_says_so():
    side = [{"best": 2.0, "losses": [1.0], "peer": "PyTorch 0"}]
    result = {"gatekern": side, "pytorch": side, "ratio": 1.0, "ratio_median": 1.0, "loss_difference": 0.0,
              "steal_percent": 0.5, "others_percent": 40.0}
    text, row = training.describe_job("lstm", "avx2", result, 1.0)
    assert text.endswith("; DISTURBED: others 40.0 % of all CPU time") and "| 0.5 | 40.0 |" in row, (text, row)
    jobs = [training.Job(row, "", side[0]["peer"])]
    heads = training.markdown(jobs).splitlines()[1]
    assert training.versions(jobs) == {"pytorch": "0"}
    assert heads.count("|") == row.count("|"), (heads, row)


def check_unlike_losses_are_refused():
    assert training.compare_losses([4.0, 3.0], [4.0, 3.0]) == 0
    for ours, theirs in (([4.0, 3.001], [4.0, 3.0]), ([float("nan")], [4.0]), ([4.0], [4.0, 3.0])):
        try:
            training.compare_losses(ours, theirs)
        except Failed:
            continue
        raise AssertionError(f"not refused: {ours} {theirs}")


def main():
    library = Path((sys.argv[1:] or [os.environ["GATEKERN_LIBRARY"]])[0]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        session = Session(library, Path(folder))
        check_gates_are_those_of_the_library(session)
        for passes in ("step", "inference"):
            check_every_peer_is_compared(session, list(NETWORKS), passes)
        if has_avx2(session):
            check_every_peer_is_compared(session, ["lstm,33,20,3,5", "gru-reset-before,20,24,3,5"], "step", "avx2")
        check_options_without_effect_are_refused(session)
        check_options_out_of_range_are_refused(session)
        check_ragged_lengths(session)
        check_a_peer_that_does_not_start_is_left_out(session)
        check_a_package_that_is_missing_is_named(session)
        check_a_peer_that_fails_costs_its_row_only(session)
        check_a_peer_that_hangs_is_left_out(session)
        check_a_peer_that_hangs_while_it_is_timed_is_left_out()
        check_what_was_compared_before_it_was_stopped_is_kept(session)
        check_results_of_made_up_rounds()
        check_what_is_not_measured_fails()
        check_half_a_result_is_refused()
        check_two_per_cent_near_the_peak()
        check_a_worker_that_dies_or_hangs_is_started_again(session)
        check_onednn_is_found_from_every_folder(session)
        check_training_starts_alike(session)
        check_disturbed_training_says_so()
        check_unlike_losses_are_refused()


if __name__ == "__main__":
    main()
