"""The fuzz targets: replay of the saved corpora, and fuzzing for a while."""

import subprocess
import tempfile

from . import cases


def targets(directory):
    """Names of the fuzz targets of a build: fuzz_NAME."""
    return sorted(path.name.removeprefix("fuzz_")
                  for path in (directory / "tests/fuzz").glob("fuzz_*") if path.is_file())


def _run(root, directory, name, arguments, seconds):
    """One run of a target; a list of problems."""
    artifacts = directory / "artifacts"
    artifacts.mkdir(exist_ok=True)
    command = [directory / "tests/fuzz" / f"fuzz_{name}", "-timeout=10", "-rss_limit_mb=2048",
               f"-artifact_prefix={artifacts}/{name}-", *arguments]
    try:
        done = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return [f"not done after {seconds} s"]
    if done.returncode == 0:
        return []
    return done.stdout.decode("utf-8", "replace").splitlines()[-50:]


def replay(root, directory, name):
    """The case: the saved inputs of a target still run clean."""
    corpus = root / "tests/fuzz/corpus" / name
    inputs = sorted(str(path) for path in corpus.glob("*") if path.is_file())
    if not inputs:
        problems = [f"tests/fuzz/corpus/{name}/ holds no input"]
    else:
        problems = _run(root, directory, name, inputs, 300)
    return cases.check("fuzz", f"{name}: {len(inputs)} saved inputs", problems)


def fuzz(root, directory, name, seconds):
    """The case: nothing is found in so many seconds. New inputs are kept in the build."""
    found = directory / "corpus" / name
    found.mkdir(parents=True, exist_ok=True)
    return _fuzz(root, directory, name, seconds, "-print_final_stats=1", str(found))


def fuzz_again(root, directory, name, seconds):
    """The same inputs each time, as far as it comes: what passed once passes again."""
    with tempfile.TemporaryDirectory() as found:
        return _fuzz(root, directory, name, seconds, "-seed=1", "-reload=0", found)


def _fuzz(root, directory, name, seconds, *arguments):
    dictionary = root / "tests/fuzz" / f"{name}.dict"
    corpus = root / "tests/fuzz/corpus" / name
    arguments = [f"-max_total_time={seconds}", *arguments]
    if corpus.is_dir():
        arguments.append(str(corpus))
    if dictionary.exists():
        arguments.append(f"-dict={dictionary}")
    return cases.check("fuzz", f"{name}: {seconds} s of fuzzing",
                       _run(root, directory, name, arguments, seconds + 120))
