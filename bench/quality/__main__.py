"""Token F1 of the main text on labelled pages, beside trafilatura and readability-lxml in the same run.

    python -m bench quality
    python -m bench.quality [--pages] [--show NAME]

`--pages` prints each page's F1 too; `--show` prints the words by which ours differs on one page.
"""

import argparse
import difflib
import sys
from collections.abc import Mapping
from contextlib import ExitStack

from bench.quality.contestants import Reader, ours, readability, trafilatura
from bench.quality.labels import Page, labelled_pages, main_text
from bench.quality.score import Score, mean, ordered_words, score

Scores = Mapping[str, Mapping[str, Score]]
"""By contestant, by page name."""


def main() -> int:
    arguments = _arguments()
    pages = labelled_pages()
    if arguments.show:
        _show(next(page for page in pages if page.name == arguments.show))
        return 0
    with ExitStack() as stack:
        readers = _readers(stack)
        scores = {name: {page.name: _scored(read, page) for page in pages} for name, read in readers.items()}
    if arguments.pages:
        for page in pages:
            _line(page.name, [scores[name][page.name] for name in readers])
    _report(pages, scores)
    return 0


def _readers(stack: ExitStack) -> dict[str, Reader]:
    theirs = {
        "trafilatura": stack.enter_context(trafilatura()),
        "trafilatura, recall": stack.enter_context(trafilatura(favor_recall=True)),
    }
    missing = [name for name, read in theirs.items() if read is None]
    if missing:
        print("without trafilatura: `make bench` installs it into .venv-bench")
    return {"ours": ours, **{name: read for name, read in theirs.items() if read}, "readability-lxml": readability}


def _scored(read: Reader, page: Page) -> Score:
    body = page.body
    return score(read(body), main_text(page, body))


def _report(pages: list[Page], scores: Scores) -> None:
    print(f"{len(pages)} pages; F1, in brackets precision and recall, each the mean over pages\n")
    print(f"  {'':<26}" + "".join(f"{name:<24}" for name in scores))
    for generator in dict.fromkeys(page.generator for page in pages):
        names = [page.name for page in pages if page.generator == generator]
        _line(generator, [mean(by_page[name] for name in names) for by_page in scores.values()])
    _line("all", [mean(by_page.values()) for by_page in scores.values()])


def _line(label: str, scores: list[Score]) -> None:
    columns = [f"{one.f1:.3f} ({one.precision:.3f} {one.recall:.3f})" for one in scores]
    print(f"  {label:<26}" + "".join(f"{column:<24}" for column in columns), flush=True)


def _show(page: Page) -> None:
    body = page.body
    labelled, extracted = ordered_words(main_text(page, body)), ordered_words(ours(body))
    for kind, a, b, c, d in difflib.SequenceMatcher(None, labelled, extracted, autojunk=False).get_opcodes():
        if kind != "equal":
            print(f"after {' '.join(labelled[max(0, a - 3) : a])!r}:")
            print(f"  - {' '.join(labelled[a:b])}\n  + {' '.join(extracted[c:d])}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", action="store_true")
    parser.add_argument("--show", metavar="NAME")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
