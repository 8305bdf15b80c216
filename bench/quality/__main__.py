"""Token F1 of the main text on labelled pages, beside trafilatura and readability-lxml in the same run.

    python -m bench quality
    python -m bench.quality [--pages] [--show NAME]

The second table is of the same pages without semantics (see `bare`), where ours may learn a template from five pages of
each site. The third is of a public set (see `public`), fetched when it is first needed. `--pages` prints each page's F1
too; `--show` prints the words by which ours differs on one page.
"""

import argparse
import difflib
import sys
from collections.abc import Mapping
from contextlib import ExitStack

from bench.quality.bare import bare
from bench.quality.contestants import Reader, learnt, ours, readability, trafilatura, without_alternatives
from bench.quality.labels import Page, labelled_pages, main_text
from bench.quality.public import Unavailable, public_pages
from bench.quality.score import Score, mean, ordered_words, score
from headrace.embedded.errors import EmbeddedError

Scores = Mapping[str, Mapping[str, Score]]
"""By contestant, by page name."""


def main() -> int:
    arguments = _arguments()
    pages = labelled_pages()
    if arguments.show:
        _show(next(page for page in pages if page.name == arguments.show))
        return 0
    labelled = {page.name: main_text(page, page.body) for page in pages}
    bodies = {page.name: without_alternatives(page.body) for page in pages}
    bared = {name: bare(body) for name, body in bodies.items()}
    groups = {page.name: page.generator for page in pages}
    with ExitStack() as stack:
        readers = {"ours": ours} | _baselines(stack)
        _report("pages as they are", groups, _scores(readers, bodies, labelled), each=arguments.pages)
        without = {"ours, template": _with_templates(pages, bared, labelled)} | _scores(readers, bared, labelled)
        _report("pages without semantics", groups, without, each=arguments.pages)
        if public := _public():
            bodies = {name: without_alternatives(body) for name, (body, _) in public.items()}
            labelled = {name: text for name, (_, text) in public.items()}
            groups = dict.fromkeys(public, "Mozilla's test pages")
            _report("public pages", groups, _scores(readers, bodies, labelled), each=arguments.pages)
    return 0


def _scores(readers: Mapping[str, Reader], bodies: Mapping[str, bytes], labelled: Mapping[str, str]) -> Scores:
    return {
        name: {page: score(read(body), labelled[page]) for page, body in bodies.items()}
        for name, read in readers.items()
    }


def _public() -> dict[str, tuple[bytes, str]]:
    try:
        return public_pages()
    except (Unavailable, EmbeddedError) as error:
        print(f"without the public set: {error}")
        return {}


def _baselines(stack: ExitStack) -> dict[str, Reader]:
    theirs = {
        "trafilatura": stack.enter_context(trafilatura()),
        "trafilatura, recall": stack.enter_context(trafilatura(favor_recall=True)),
    }
    if any(read is None for read in theirs.values()):
        print("without trafilatura: `make bench` installs it into .venv-bench")
    return {**{name: read for name, read in theirs.items() if read}, "readability-lxml": readability}


def _with_templates(pages: list[Page], bared: Mapping[str, bytes], labelled: Mapping[str, str]) -> dict[str, Score]:
    """A site is learnt from pages without labels first, then from labelled ones, this page the last of them."""
    scores = {}
    for page in pages:
        alike = [bared[other.name] for other in pages if other.neighbours == page.neighbours and other is not page]
        beside = alike if page.neighbours else []
        site = learnt([*map(bare, page.neighbouring), *beside, bared[page.name]])
        scores[page.name] = score(ours(bared[page.name], site), labelled[page.name])
    return scores


def _report(title: str, groups: Mapping[str, str], scores: Scores, *, each: bool) -> None:
    """`groups`: by page, the line that it counts in."""
    print(f"\n{len(groups)} {title}; F1, in brackets precision and recall, each the mean over pages\n")
    print(f"  {'':<26}" + "".join(f"{name:<24}" for name in scores))
    for page in groups if each else ():
        _line(page, [by_page[page] for by_page in scores.values()])
    for group in dict.fromkeys(groups.values()):
        of_group = [page for page, its in groups.items() if its == group]
        _line(group, [mean(by_page[page] for page in of_group) for by_page in scores.values()])
    _line("all", [mean(by_page.values()) for by_page in scores.values()])


def _line(label: str, scores: list[Score]) -> None:
    columns = [f"{one.f1:.3f} ({one.precision:.3f} {one.recall:.3f})" for one in scores]
    print(f"  {label:<26}" + "".join(f"{column:<24}" for column in columns), flush=True)


def _show(page: Page) -> None:
    body = page.body
    labelled, extracted = ordered_words(main_text(page, body)), ordered_words(ours(without_alternatives(body)))
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
