#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `retprobe usl` says, draws and refuses, and how it ends."""
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "trace"))
from harness import RETPROBE, clean_environment, run  # noqa: E402

DATA = pathlib.Path(os.environ["RETPROBE_TEST_DATA"])
PRCTL = str(DATA / "kretprobe_prctl_x86.csv")
SVG = "{http://www.w3.org/2000/svg}"


class Usl(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, name, content):
        path = self.folder / name
        path.write_text(content)
        return str(path)

    def usl(self, *arguments, **options):
        result = run([RETPROBE, "usl", *arguments], **options)
        self.assertEqual((result.status, result.err), (0, b""))
        return result.out.decode(errors="replace")

    def fits(self, *arguments, **options):
        report = json.loads(self.usl("--json", *arguments, **options))
        self.assertEqual((report["version"], report["confidence"]), (1, 0.95))
        return report["fits"]

    def complains(self, arguments, status, *words, **options):
        """One line on standard error, with the words, and the status."""
        result = run([RETPROBE, "usl", *arguments], **options)
        self.assertEqual(result.status, status, result.err)
        self.assertEqual(result.out, b"")
        lines = result.lines()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith("retprobe: "), lines)
        for word in words:
            self.assertIn(word, lines[0])

    # Command lines.

    def test_help(self):
        for option in ("--help", "-h"):
            text = self.usl(option)
            self.assertIn("Usage: retprobe usl", text)
            self.assertTrue(all(len(l) <= 80 for l in text.splitlines()))
        self.assertIn(b"usl ", run([RETPROBE, "--help"]).out)

    def test_wrong_command_lines(self):
        self.complains([], 2, "no file", "--help")
        self.complains([PRCTL, "more"], 2, "one file only", "more")
        self.complains([PRCTL, "--wrong"], 2, "unknown option --wrong")
        self.complains([PRCTL, "-x"], 2, "unknown option -x")
        self.complains([PRCTL, "--svg"], 2, "--svg wants a value")
        self.complains([PRCTL, "--svg="], 2, "empty")
        self.complains([PRCTL, "--law", "moore"], 2, "moore", "amdahl")
        self.complains([PRCTL, "--axes=polar"], 2, "polar", "linear")
        self.complains([PRCTL, "--predict", "128,x"], 2, "--predict", "'x'")
        self.complains([PRCTL, "--predict", "0"], 2, "--predict", "'0'")
        self.complains([PRCTL, "--segments", "64,32"], 2, "ascend")
        self.complains([""], 2, "empty")

    # Files.

    def test_files_that_cannot_be_read_or_written(self):
        self.complains(["/no/such"], 1, "/no/such", "No such file")
        self.complains([str(self.folder)], 1, "directory")
        self.complains([PRCTL, "--svg", "/no/where.svg"], 1, "/no/where.svg")
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                status = subprocess.run([RETPROBE, "usl", PRCTL], stdout=full,
                                        stderr=subprocess.PIPE, check=False,
                                        env=clean_environment())
            self.assertEqual(status.returncode, 1)
            self.assertIn(b"standard output", status.stderr)

    def test_errors_name_file_line_and_column(self):
        path = self.file("a.csv", "threads,x\n1,5\n2,none\n")
        self.complains([path], 1, f"{path}:3:3: ", "none")
        path = self.file("b.csv", "threads,x\n1,5\n2,0\n")
        self.complains([path], 1, f"{path}:3:3: ", "above 0")
        path = self.file("c.json", '{"benchmarks":\n [}')
        self.complains([path], 1, f"{path}:2:3: ", "not JSON")

    def test_no_such_series(self):
        self.complains([PRCTL, "--series", "object*"], 1, "'object*'",
                       "native, objpool")

    def test_too_few_points(self):
        path = self.file("a.csv", "threads,x\n1,5\n2,6\n")
        self.complains([path], 1, "too few points", "2 numbers")
        self.complains([path, "--law=usl"], 1, "at least 4")
        # Another series of the file can be fitted.
        path = self.file("a.csv", "threads,x,y\n1,5,6\n2,6,7\n4,,9\n")
        first, second = self.fits(path)
        self.assertIn("too few", first["error"])
        self.assertEqual(second["law"], "amdahl")
        self.assertIn("not fitted", self.usl(path))

    def test_standard_input(self):
        with open(PRCTL, "rb") as file:
            self.assertEqual(len(self.fits("-", stdin=file)), 3)

    # Fits.

    def test_published_figures(self):
        """kretprobe on prctl: the old list collapses, the object pool grows
        like the unprobed call, to a peak at the machine's 128 threads."""
        fits = {fit["series"]: fit for fit in self.fits(PRCTL)}
        self.assertEqual(set(fits), {"native", "freelist", "objpool"})
        for fit in fits.values():
            self.assertEqual(fit["law"], "usl")
            self.assertEqual(len(fit["points"]), 10)
            self.assertLess(fit["usl"]["aicc"], fit["amdahl"]["aicc"])
            for name in ("g", "a", "b", "peak"):
                low, high = fit["intervals"][name]
                self.assertTrue(low <= fit["usl"][name] <= high, (name, fit))
        pool, native = fits["objpool"]["usl"], fits["native"]["usl"]
        self.assertAlmostEqual(pool["g"] / 24.79e6, 1, delta=0.002)
        self.assertEqual(pool["a"], 0)
        self.assertAlmostEqual(pool["b"] / 5.723e-5, 1, delta=0.002)
        self.assertAlmostEqual(pool["peak"], 132, delta=1)
        self.assertAlmostEqual(native["peak"], 131, delta=1)
        self.assertLess(pool["rms_log"], 0.06)
        self.assertEqual(fits["freelist"]["usl"]["peak"], 1)
        self.assertGreater(fits["freelist"]["usl"]["a"], 1)

    def test_fits_are_the_least_squares_of_log_x(self):
        """No neighbour of a fit is better, by a sum written down here."""

        def cost(points, g, a, b):
            return sum((math.log(g * n / (1 + a * (n - 1) + b * n * (n - 1)))
                        - math.log(x)) ** 2 for n, x in points)

        for fit in self.fits(PRCTL):
            for law in ("amdahl", "usl"):
                g, a, b = (fit[law][name] for name in "gab")
                least = cost(fit["points"], g, a, b)
                self.assertAlmostEqual(
                    math.sqrt(least / len(fit["points"])),
                    fit[law]["rms_log"], places=9)
                for step in (1e-3, 1e-2, 0.3):
                    for i in range(27):
                        dg, da, db = (i // 9 - 1, i // 3 % 3 - 1, i % 3 - 1)
                        if law == "amdahl":
                            db = 0
                        near = cost(fit["points"], g * (1 + step * dg),
                                    max(0, a + step * da * max(a, 1e-3)),
                                    max(0, b + step * db * max(b, 1e-5)))
                        self.assertGreaterEqual(near, least * (1 - 1e-9))

    def test_a_law_that_is_asked_for(self):
        for law in ("amdahl", "usl"):
            for fit in self.fits(PRCTL, "--law", law):
                self.assertEqual(fit["law"], law)
        fit = self.fits(PRCTL, "--law=amdahl", "--series=objpool")[0]
        self.assertEqual(fit["amdahl"]["b"], 0)
        self.assertIsNone(fit["amdahl"]["peak"])  # infinity

    def test_predictions(self):
        fit = self.fits(PRCTL, "--predict", "64,256,512",
                        "--series", "objpool")[0]
        self.assertEqual([p["threads"] for p in fit["predictions"]],
                         [64, 256, 512])
        usl = fit["usl"]
        for p in fit["predictions"]:
            n = p["threads"]
            expected = usl["g"] * n / (1 + usl["a"] * (n - 1) +
                                       usl["b"] * n * (n - 1))
            self.assertAlmostEqual(p["throughput"] / expected, 1, places=9)
            low, high = p["interval"]
            self.assertTrue(low < p["throughput"] < high)
        # 256 is twice the measured 128, and 512 is more.
        self.assertEqual(len(fit["remarks"]), 1, fit["remarks"])
        self.assertIn("512", fit["remarks"][0])
        self.assertIn("extrapolates", fit["remarks"][0])
        self.assertIn("extrapolates", self.usl(PRCTL, "--predict", "512"))

    def test_segments(self):
        rows = ["threads,cliff"]
        for n in (1, 2, 4, 8, 16, 32):
            rows.append(f"{n},{1e6 * n}")
        for n in (36, 40, 48, 56, 64):
            rows.append(f"{n},{2e5 * n}")
        path = self.file("cliff.csv", "\n".join(rows))
        whole = self.fits(path)[0]
        self.assertTrue(any("does not fit" in r and "--segments" in r
                            for r in whole["remarks"]))
        first, second = self.fits(path, "--segments", "32,64")
        self.assertEqual([len(s["points"]) for s in (first, second)], [6, 5])
        for segment in (first, second):
            self.assertLess(segment[segment["law"]]["rms_log"], 1e-6)
            self.assertFalse(any("not fit" in r for r in segment["remarks"]))
        # The same from a topology with these packages.
        env = dict(clean_environment(),
                   HWLOC_SYNTHETIC="pack:2 core:32 pu:1")
        self.assertEqual(self.fits(path, "--segments=package", env=env),
                         [first, second])

    def test_packages_that_fill_their_cores_first(self):
        """As Linux numbers them: a CPU of each core, then the second ones."""
        rows = ["threads,x"] + [f"{n},{n}" for n in range(1, 17)]
        path = self.file("x.csv", "\n".join(rows))
        for synthetic, ends in (
                ("pack:2 core:4 pu:2(indexes=0,8,1,9,2,10,3,11,"
                 "4,12,5,13,6,14,7,15)", [4, 8, 12, 16]),
                ("pack:2 core:4 pu:2", [8, 16]),
                ("pack:2 core:4 pu:2(indexes=0,2,4,6,8,10,12,14,"
                 "1,3,5,7,9,11,13,15)", [16]),
                ("pack:1 core:16 pu:1", [16])):
            env = dict(clean_environment(), HWLOC_SYNTHETIC=synthetic)
            fits = self.fits(path, "--segments", "package", env=env)
            self.assertEqual([f["points"][-1][0] for f in fits], ends)

    def test_benchmark_results(self):
        runs = []
        for name, rate in (("ideal/objpool", 5e8), ("empty/objpool", 1e8)):
            for n in (1, 2, 4, 8, 16, 32):
                for factor in (0.9, 1, 1.5):
                    runs.append({
                        "name": f"{name}/threads:{n}", "run_type": "iteration",
                        "threads": n, "real_time": 1.0 / n,
                        "items_per_second":
                            factor * rate * n / (1 + 0.05 * (n - 1))})
        path = self.file("b.json", json.dumps({"benchmarks": runs}))
        fits = self.fits(path)
        self.assertEqual([f["series"] for f in fits],
                         ["ideal/objpool", "empty/objpool"])
        for fit, rate in zip(fits, (5e8, 1e8)):
            self.assertEqual((fit["law"], len(fit["points"])), ("amdahl", 6))
            self.assertAlmostEqual(fit["amdahl"]["g"] / rate, 1, places=5)
            self.assertAlmostEqual(fit["amdahl"]["a"], 0.05, places=5)
        self.assertEqual(len(self.fits(path, "--series", "ideal/*")), 1)

    def test_the_table(self):
        lines = self.usl(PRCTL).splitlines()
        self.assertEqual(lines[0].split()[:6],
                         ["series", "threads", "law", "g", "a", "b"])
        row = next(l for l in lines if l.startswith("objpool"))
        self.assertEqual(row.split()[1:4], ["1-128", "usl", "24.8M"])
        self.assertTrue(lines[lines.index(row) + 1].startswith("  95 %"))

    # Drawings.

    def test_drawings_are_well_formed(self):
        for axes in ("log", "linear"):
            path = self.folder / f"{axes}.svg"
            self.usl(PRCTL, "--svg", str(path), "--axes", axes,
                     "--predict=256")
            root = xml.etree.ElementTree.parse(path).getroot()
            self.assertEqual(root.tag, SVG + "svg")
            texts = [t.text for t in root.iter(SVG + "text")]
            for word in ("threads", "throughput", "objpool (usl, peak 132)"):
                self.assertIn(word, texts)
            self.assertEqual("0" in texts, axes == "linear")
            groups = list(root.iter(SVG + "g"))
            self.assertEqual(len(groups), 3)
            width, height = (float(root.get(k)) for k in ("width", "height"))
            for group in groups:
                curves = [p for p in group if p.get("class") == "curve"]
                self.assertEqual(len(curves), 2)  # the second one is dashed
                markers = [p for p in group if p.get("transform")]
                self.assertEqual(len(markers), 10 + 1)  # and the legend's
                for marker in markers:
                    x, y = marker.get("transform")[10:-1].split()
                    self.assertTrue(0 < float(x) < width)
                    self.assertTrue(0 < float(y) < height)

    def test_names_of_all_kinds_can_be_drawn(self):
        path = self.folder / "a.csv"
        path.write_bytes(b'threads,"<&>""\'",\xff\x02,\xc3\xa4\n'
                         b"1,1,2,3\n2,2,3,4\n4,3,4,5\n")
        svg = self.folder / "a.svg"
        self.usl(str(path), "--svg", str(svg))
        texts = [t.text for t in
                 xml.etree.ElementTree.parse(svg).getroot().iter(SVG + "text")]
        self.assertTrue(any(t.startswith("<&>\"'") for t in texts))
        self.assertTrue(any(t.startswith("\u00e4") for t in texts))
        self.assertEqual(len(self.fits(str(path))), 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
