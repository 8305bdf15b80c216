"""The text of robots.txt: every example of RFC 9309, and what Google publishes of how its parser reads.

Sources: RFC 9309; developers.google.com, "How Google interprets the robots.txt specification"; the cases that
google/robotstxt is tested by. Each is written here as a file, a crawler, and what it may fetch.
"""

from collections.abc import Iterable
from typing import Any

import pytest

from producer.rules import Rules

SITE = "https://www.example.com"


def allows(text: str | bytes, path: str, token: str = "FooBot") -> bool:
    body = text.encode() if isinstance(text, str) else text
    return Rules(body, token).allow(SITE + path)


def disallowed(pattern: str, path: str) -> bool:
    return not allows(f"user-agent: FooBot\ndisallow: {pattern}\n", path)


def table(*rows: tuple[Any, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=lambda row: " ".join(map(repr, row))[:80])


class TestRfc9309:
    """By section."""

    EXAMPLE_BOT = "user-agent: ExampleBot\ndisallow: /foo\ndisallow: /bar\n\nuser-agent: ExampleBot\ndisallow: /baz\n"

    @table(("/foo", False), ("/bar", False), ("/baz", False), ("/else", True))
    def test_2_2_1_groups_of_one_name_are_one(self, row: tuple[str, bool]) -> None:
        path, expected = row
        assert allows(self.EXAMPLE_BOT, path, "ExampleBot") is expected
        one = "user-agent: ExampleBot\ndisallow: /foo\ndisallow: /bar\ndisallow: /baz\n"
        assert allows(one, path, "ExampleBot") is expected

    @table(("ExampleBot",), ("EXAMPLEBOT",), ("examplebot",), ("eXaMpLeBoT",))
    def test_2_2_1_names_match_whatever_their_case(self, row: tuple[str]) -> None:
        assert not allows(self.EXAMPLE_BOT, "/foo", row[0])

    @table(("Example",), ("ExampleBots",), ("Bot",), ("ExampleBot-Image",), ("E",))
    def test_2_2_1_names_match_whole(self, row: tuple[str]) -> None:
        assert allows(self.EXAMPLE_BOT, "/foo", row[0])

    def test_2_2_1_a_general_group_is_for_who_has_none(self) -> None:
        text = "user-agent: *\ndisallow: /\n\nuser-agent: ExampleBot\ndisallow: /foo\n"
        assert allows(text, "/bar", "ExampleBot")
        assert not allows(text, "/bar", "OtherBot")

    def test_2_2_1_no_group_no_rules(self) -> None:
        assert allows("user-agent: ExampleBot\ndisallow: /\n", "/", "OtherBot")

    @table(
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz"),
        ("/foo/bar?baz=http%3A%2F%2Ffoo.bar", "/foo/bar?baz=http%3A%2F%2Ffoo.bar"),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84"),
        ("/foo/bar/%E3%83%84", "/foo/bar/%E3%83%84"),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz"),
        ("/foo/bar/baz", "/foo/bar/%62%61%7A"),
    )
    def test_2_2_2_octets_are_compared_after_encoding(self, row: tuple[str, str]) -> None:
        assert disallowed(*row)

    @table(
        ("/foo/bar?baz=http://foo.bar", "/foo/bar?baz=http%3A%2F%2Ffoo.bar", True),
        ("/foo/bar?baz=http%3A%2F%2Ffoo.bar", "/foo/bar?baz=http://foo.bar", True),
        ("/foo/bar?baz=http%3a%2f%2ffoo.bar", "/foo/bar?baz=http://foo.bar", True),
        ("/*/private", "/x?next=/private", True),
        ("/*/private", "/x?next=%2Fprivate", True),
        ("/foo%2Fbar", "/foo/bar", False),
        ("/foo/bar", "/foo%2Fbar", False),
        ("/foo/bar?baz=a/b", "/foo/bar?baz=a%2Bb", False),
    )
    def test_2_2_2_a_url_within_a_query_matches_its_encoded_form(self, row: tuple[str, str, bool]) -> None:
        pattern, path, expected = row
        assert disallowed(pattern, path) is expected

    def test_2_2_2_the_most_octets_win_and_allow_where_they_are_equal(self) -> None:
        assert allows("user-agent: *\nallow: /example/page/\ndisallow: /example/\n", "/example/page/a")
        assert allows("user-agent: *\nallow: /page\ndisallow: /page\n", "/page")
        assert allows("user-agent: *\ndisallow: /page\nallow: /page\n", "/page")

    def test_2_2_2_no_match_no_rules_and_robots_txt_itself(self) -> None:
        assert allows("user-agent: *\ndisallow: /foo\n", "/bar")
        assert allows("user-agent: *\n", "/bar")
        assert allows("", "/bar")
        assert allows("user-agent: *\ndisallow: /\n", "/robots.txt")

    @table(
        ("/this/path/exactly", "/this/path/exactly # a comment behind a rule", True),
        ("/this/path/exactly", "/this/path/exactly$", True),
        ("/this/path/exactly/not", "/this/path/exactly$", False),
        ("/this/x/y/exactly", "/this/*/exactly", True),
        ("/this/exactly", "/this/*/exactly", False),
        ("/path/file-with-a-*.html", "/path/file-with-a-%2A.html", True),
        ("/path/file-with-a-b.html", "/path/file-with-a-%2A.html", False),
        ("/path/foo-$", "/path/foo-%24", True),
        ("/path/foo-", "/path/foo-%24", False),
    )
    def test_2_2_3_special_characters(self, row: tuple[str, str, bool]) -> None:
        path, pattern, expected = row
        assert disallowed(pattern, path) is expected

    def test_2_2_4_other_records_do_not_interfere(self) -> None:
        text = "user-agent: a\nsitemap: https://www.example.com/s.xml\nuser-agent: b\nunknown: x\ndisallow: /\n"
        assert not allows(text, "/x", "a")
        assert not allows(text, "/x", "b")
        assert Rules(text.encode(), "c").sitemaps == ["https://www.example.com/s.xml"]

    SIMPLE = """
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""

    @table(
        ("anybot", "/x.gif", False), ("anybot", "/x.gifs", True), ("anybot", "/example/", False),
        ("anybot", "/publications/", True), ("anybot", "/publications/x.gif", True), ("anybot", "/", True),
        ("foobot", "/", False), ("foobot", "/example/page.html", True), ("foobot", "/example/allowed.gif", True),
        ("foobot", "/example/other.gif", False), ("foobot", "/publications/", False),
        ("barbot", "/example/page.html", False), ("barbot", "/example/", True), ("barbot", "/x.gif", True),
        ("bazbot", "/example/page.html", False), ("bazbot", "/example/", True),
        ("quxbot", "/example/page.html", True), ("quxbot", "/x.gif", True), ("quxbot", "/", True),
    )  # fmt: skip
    def test_5_1_simple_example(self, row: tuple[str, str, bool]) -> None:
        token, path, expected = row
        assert allows(self.SIMPLE, path, token) is expected

    @table(("/example/page/", True), ("/example/page/disallowed.gif", False), ("/example/page/disallowed.gif?x", False))
    def test_5_2_longest_match(self, row: tuple[str, bool]) -> None:
        path, expected = row
        text = "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n"
        assert allows(text, path) is expected


PATHS: dict[str, tuple[list[str], list[str]]] = {
    "/": (["/", "/fish", "/anything/at/all?x=1"], []),
    "/*": (["/", "/fish", "/anything/at/all?x=1"], []),
    "/$": (["/"], ["/fish", "/index.html"]),
    "/fish": (
        ["/fish", "/fish.html", "/fish/salmon.html", "/fishheads", "/fishheads/yummy.html", "/fish.php?id=anything"],
        ["/Fish.asp", "/catfish", "/?id=fish", "/desert/fish"],
    ),
    "/fish*": (
        ["/fish", "/fish.html", "/fish/salmon.html", "/fishheads", "/fishheads/yummy.html", "/fish.php?id=anything"],
        ["/Fish.asp", "/catfish", "/?id=fish", "/desert/fish"],
    ),
    "/fish/": (
        ["/fish/", "/fish/?id=anything", "/fish/salmon.htm"],
        ["/fish", "/fish.html", "/animals/fish/", "/Fish/Salmon.asp"],
    ),
    "/*.php": (
        ["/index.php", "/filename.php", "/folder/filename.php", "/folder/filename.php?parameters",
         "/folder/any.php.file.html", "/filename.php/", "/filename.php5"],
        ["/", "/windows.PHP"],
    ),
    "/*.php$": (
        ["/filename.php", "/folder/filename.php"],
        ["/filename.php?parameters", "/filename.php/", "/filename.php5", "/windows.PHP"],
    ),
    "/fish*.php": (["/fish.php", "/fishheads/catfish.php?parameters"], ["/Fish.PHP", "/fish", "/catfish.php"]),
    "*.gif": (["/x.gif", "/a/b.gif?c"], ["/x.jpg"]),
    "/a*b*c$": (["/abc", "/a-b-c", "/abcc", "/aXbXbYc"], ["/acb", "/abcd"]),
    "/a**b": (["/ab", "/axb", "/axxbx"], ["/b"]),
    "/search?q=*&page=": (["/search?q=x&page=2", "/search?q=&page="], ["/search?q=x", "/search"]),
    "/price-$1": (["/price-$1", "/price-$1-2"], ["/price-1"]),
}  # fmt: skip


def _paths(which: int) -> Iterable[tuple[str, str]]:
    return [(pattern, path) for pattern, both in PATHS.items() for path in both[which]]


class TestGooglesPage:
    """Tables of "How Google interprets the robots.txt specification"."""

    @table(*_paths(0))
    def test_the_pattern_matches(self, row: tuple[str, str]) -> None:
        assert disallowed(*row)

    @table(*_paths(1))
    def test_the_pattern_does_not_match(self, row: tuple[str, str]) -> None:
        assert not disallowed(*row)

    @table(
        ("allow: /p\ndisallow: /\n", "/page", True),
        ("allow: /folder\ndisallow: /folder\n", "/folder/page", True),
        ("allow: /page\ndisallow: /*.htm\n", "/page.htm", False),
        ("allow: /page\ndisallow: /*.ph\n", "/page.php5", True),
        ("allow: /$\ndisallow: /\n", "/", True),
        ("allow: /$\ndisallow: /\n", "/page.htm", False),
    )
    def test_order_of_precedence(self, row: tuple[str, str, bool]) -> None:
        rules, path, expected = row
        assert allows("user-agent: FooBot\n" + rules, path) is expected
        assert allows("user-agent: FooBot\n" + "".join(reversed(rules.splitlines(True))), path) is expected

    GROUPS = """user-agent: googlebot-news
disallow: /news

user-agent: *
disallow: /any

user-agent: googlebot
disallow: /bot
"""

    @table(
        ("googlebot-news", ["/news"]), ("googlebot", ["/bot"]), ("googlebot-image", ["/any"]), ("otherbot", ["/any"]),
        ("google", ["/any"]),
    )  # fmt: skip
    def test_one_group_is_valid_for_a_crawler(self, row: tuple[str, list[str]]) -> None:
        token, closed = row
        assert [path for path in ("/news", "/any", "/bot") if not allows(self.GROUPS, path, token)] == closed

    @table(
        ("a", ["/c"]), ("b", ["/d"]), ("e", ["/g"]), ("f", ["/g"]), ("h", []),
    )  # fmt: skip
    def test_grouping_of_lines(self, row: tuple[str, list[str]]) -> None:
        text = "user-agent: a\ndisallow: /c\n\nuser-agent: b\ndisallow: /d\n\nuser-agent: e\nuser-agent: f\n"
        text += "disallow: /g\n\nuser-agent: h\n"
        token, closed = row
        assert [path for path in ("/c", "/d", "/g") if not allows(text, path, token)] == closed

    def test_groups_of_one_name_are_combined_wherever_they_stand(self) -> None:
        text = "user-agent: a\ndisallow: /1\nuser-agent: *\ndisallow: /2\nuser-agent: a\ndisallow: /3\n"
        assert [path for path in ("/1", "/2", "/3") if not allows(text, path, "a")] == ["/1", "/3"]

    def test_lines_that_are_no_rules_do_not_part_a_group(self) -> None:
        text = "user-agent: a\nsitemap: https://example.com/sitemap.xml\n\nuser-agent: b\ndisallow: /\n"
        assert not allows(text, "/", "a")
        assert not allows(text, "/", "b")


class TestGooglesParser:
    """What google/robotstxt is tested by."""

    @table(
        ("user-agent: FooBot\ndisallow: /\n", False), ("foo: FooBot\nbar: /\n", True),
        ("user-agent FooBot\ndisallow /\n", False), ("user-agent : FooBot\ndisallow : /\n", False),
        ("USER-AGENT: FooBot\nDISALLOW: /\n", False), ("uSeR-aGeNt: FooBot\ndIsAlLoW: /\n", False),
        ("  user-agent:FooBot  \n\t disallow:/ \n", False), ("user-agent: FooBot # me\ndisallow: / # all\n", False),
        ("# user-agent: FooBot\n# disallow: /\n", True), ("user-agent FooBot x\ndisallow /\n", True),
    )  # fmt: skip
    def test_lines(self, row: tuple[str, bool]) -> None:
        text, expected = row
        assert allows(text, "/x/y") is expected

    GROUPS = """allow: /foo/bar/

user-agent: FooBot
disallow: /
allow: /x/
user-agent: BarBot
disallow: /
allow: /y/


allow: /w/
user-agent: BazBot

user-agent: FooBot
allow: /z/
disallow: /
"""

    @table(
        ("FooBot", ["/x/b", "/z/d"]), ("BarBot", ["/y/c", "/w/a"]), ("BazBot", ["/z/d"]),
    )  # fmt: skip
    def test_groups(self, row: tuple[str, list[str]]) -> None:
        """A blank line ends nothing, rules before any group count for nobody."""
        token, opened = row
        paths = ("/x/b", "/z/d", "/y/c", "/w/a", "/foo/bar/")
        assert [path for path in paths if allows(self.GROUPS, path, token)] == opened

    @table(
        ("User-agent: BarBot\nSitemap: https://foo.bar/sitemap\nUser-agent: *\nDisallow: /\n", "BarBot"),
        ("User-agent: FooBot\nInvalid-Unknown-Line: unknown\nUser-agent: *\nDisallow: /\n", "FooBot"),
    )
    def test_groups_with_other_lines(self, row: tuple[str, str]) -> None:
        text, token = row
        assert not allows(text, "/", token)
        assert not allows(text, "/", "QuxBot")

    @table(
        ("User-Agent: FooBot/1.2", True), ("User-Agent: FooBot 3", True), ("User-Agent: FooBot; x", True),
        ("User-Agent: foo bot", False), ("User-Agent: Foo", False), ("User-Agent: FooBotting", False),
        ("User-Agent: Foo-Bot", False), ("User-Agent: FooBot_x", False), ("User-Agent: x FooBot", False),
        ("User-Agent: Mozilla/5.0 (compatible; FooBot/1.0)", False), ("User-Agent: FooBot*", True),
        ("User-Agent: *FooBot", False), ("User-Agent:", False), ("User-Agent: /FooBot", False),
    )  # fmt: skip
    def test_a_name_ends_where_no_letter_dash_or_underscore_stands(self, row: tuple[str, bool]) -> None:
        line, ours = row
        assert allows(f"User-Agent: *\nDisallow: /\n{line}\nAllow: /\n", "/x") is ours

    @table(("*", False), ("* ", False), ("* baz", False), ("*baz", True), ("**", True))
    def test_everybody_is_an_asterisk_by_itself_or_before_a_blank(self, row: tuple[str, bool]) -> None:
        name, expected = row
        assert allows(f"User-Agent: {name}\nDisallow: /\n", "/x") is expected

    @table(
        ("", True), ("user-agent: FooBot\n", True),
        ("user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /\n", False),
        ("user-agent: FooBot\nallow: /\nuser-agent: *\ndisallow: /\n", True), ("user-agent: *\ndisallow: /\n", False),
        ("user-agent: FooBot\ndisallow: /\nuser-agent: BarBot\ndisallow: /\n", False),
        ("user-agent: BarBot\ndisallow: /\nuser-agent: BazBot\ndisallow: /\n", True),
        ("user-agent: FooBot\ndisallow:\nuser-agent: *\ndisallow: /\n", True),
        ("disallow: /\nuser-agent: FooBot\nallow: /x\n", True),
    )  # fmt: skip
    def test_the_general_group_is_secondary(self, row: tuple[str, bool]) -> None:
        text, expected = row
        assert allows(text, "/x/y") is expected

    @table(("/X/", True), ("/x/", False), ("/x/Y", False))
    def test_paths_match_by_case(self, row: tuple[str, bool]) -> None:
        path, expected = row
        assert allows("user-agent: FooBot\ndisallow: /x/\n", path) is expected

    @table(
        ("disallow: /x/page.html\nallow: /x/\n", "/x/page.html", False),
        ("allow: /x/page.html\ndisallow: /x/\n", "/x/page.html", True),
        ("allow: /x/page.html\ndisallow: /x/\n", "/x/", False),
        ("disallow: \nallow: \n", "/x/page.html", True),
        ("disallow: /\nallow: /\n", "/x/page.html", True),
        ("disallow: /x\nallow: /x/\n", "/x", False),
        ("disallow: /x\nallow: /x/\n", "/x/", True),
        ("disallow: /x/page.html\nallow: /x/page.html\n", "/x/page.html", True),
        ("allow: /page\ndisallow: /*.html\n", "/page.html", False),
        ("allow: /page\ndisallow: /*.html\n", "/page", True),
        ("allow: /x/page.\ndisallow: /*.html\n", "/x/page.html", True),
        ("allow: /x/page.\ndisallow: /*.html\n", "/x/y.html", False),
    )
    def test_longest_match(self, row: tuple[str, str, bool]) -> None:
        rules, path, expected = row
        assert allows("user-agent: FooBot\n" + rules, path) is expected

    def test_rules_of_the_general_group_do_not_join_ones_own(self) -> None:
        text = "User-agent: *\nDisallow: /x/\nUser-agent: FooBot\nDisallow: /y/\n"
        assert allows(text, "/x/page")
        assert not allows(text, "/y/page")

    @table(
        ("/foo/bar?qux=taz&baz=http://foo.bar?tar&par", "/foo/bar?qux=taz&baz=http://foo.bar?tar&par", True),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84", True), ("/foo/bar/%E3%83%84", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%e3%83%84", "/foo/bar/%E3%83%84", True), ("/caf\u00e9", "/caf%C3%A9", True),
        ("/caf\u00e9", "/cafe", False), ("/\u00dc*", "/%C3%9Cber", True), ("/a b", "/a%20b", True),
        ("/a%2fb", "/a/b", False), ("/a%2fb", "/a%2Fb", True),
    )  # fmt: skip
    def test_encoding(self, row: tuple[str, str, bool]) -> None:
        """Where Google's parser compares `%62%61%7A` and `baz` as they are, we do as RFC 9309, 2.2.2 has it."""
        pattern, path, expected = row
        assert disallowed(pattern, path) is expected

    def test_bytes_of_no_charset_are_compared_as_they_are(self) -> None:
        assert not allows(b"user-agent: FooBot\ndisallow: /caf\xe9\n", "/caf%E9")
        assert allows(b"user-agent: FooBot\ndisallow: /caf\xe9\n", "/caf%C3%A9")

    @table(
        ("disallow: /foo/bar/quz\nallow: /foo/*/qux\n", "/foo/bar/quz", False),
        ("disallow: /foo/bar/quz\nallow: /foo/*/qux\n", "/foo/quz", True),
        ("disallow: /foo/bar/quz\nallow: /foo/*/qux\n", "/foo//quz", True),
        ("disallow: /foo/bar$\nallow: /foo/bar/qux\n", "/foo/bar", False),
        ("disallow: /foo/bar$\nallow: /foo/bar/qux\n", "/foo/bar/qux", True),
        ("disallow: /foo/bar$\nallow: /foo/bar/qux\n", "/foo/bar/", True),
        ("disallow: /foo/bar$\nallow: /foo/bar/qux\n", "/foo/bar/baz", True),
        ("# disallow: /\ndisallow: /foo/quz#qux\nallow: /\n", "/foo/bar", True),
        ("# disallow: /\ndisallow: /foo/quz#qux\nallow: /\n", "/foo/quz", False),
    )
    def test_special_characters(self, row: tuple[str, str, bool]) -> None:
        rules, path, expected = row
        assert allows("user-agent: FooBot\n" + rules, path) is expected

    @table(
        ("/allowed-slash/", True), ("/allowed-slash/index.htm", False), ("/allowed-slash/index.html", True),
        ("/other/index.html", False), ("/allowed-slash", False),
    )  # fmt: skip
    def test_index_html_is_its_directory(self, row: tuple[str, bool]) -> None:
        path, expected = row
        assert allows("user-agent: *\nallow: /allowed-slash/index.html\ndisallow: /\n", path) is expected

    def test_lines_without_end_do_no_harm(self) -> None:
        long = "/x/" + "a" * 20_000
        text = f"user-agent: FooBot\ndisallow: {long}/qux\nallow: /y\n" + "b" * 1_000_000 + "\ndisallow: /y/z\n"
        assert allows(text, "/x/")
        assert allows(text, "/y")
        assert not allows(text, "/y/z")
        assert not allows(f"user-agent: FooBot\ndisallow: /x/{'*' * 20_000}qux\n", "/x/a"), "cut before `qux`"

    @table(("\n",), ("\r\n",), ("\r",), ("\n\n\n",), ("\r\n\r\n",), ("\n\r",))
    def test_line_endings(self, row: tuple[str]) -> None:
        text = row[0].join(["user-agent: FooBot", "disallow: /x", "allow: /x/y", "disallow: /z"])
        assert [allows(text, path) for path in ("/x", "/x/y", "/z", "/")] == [False, True, False, True]

    @table(("\u2028",), ("\u0085",), ("\x0b",), ("\x0c",), ("\x1c",))
    def test_nothing_else_ends_a_line(self, row: tuple[str]) -> None:
        assert allows(f"user-agent: FooBot\ndisallow: /x{row[0]}disallow: /\n", "/y")

    @table((b"\xef\xbb\xbf", False), (b"", False), (b"\xff\xfe", True), (b"xyz", True))
    def test_a_byte_order_mark_is_skipped(self, row: tuple[bytes, bool]) -> None:
        start, expected = row
        assert allows(start + b"user-agent: FooBot\ndisallow: /\n", "/x") is expected

    def test_a_byte_order_mark_within_is_none(self) -> None:
        assert allows(b"user-agent: FooBot\n\xef\xbb\xbfdisallow: /\n", "/x")

    @table(
        ("useragent: FooBot\ndisallow: /\n",), ("user agent: FooBot\ndisallow: /\n",),
        *[(f"user-agent: FooBot\n{typo}: /\n",) for typo in "dissallow dissalow disalow diasllow disallaw".split()],
    )  # fmt: skip
    def test_typos_are_forgiven(self, row: tuple[str]) -> None:
        assert not allows(row[0], "/x")

    @table(("alow",), ("allows",), ("disallo",), ("userr-agent",))
    def test_not_every_typo_is(self, row: tuple[str]) -> None:
        assert not allows(f"user-agent: FooBot\ndisallow: /\n{row[0]}: /x\n", "/x")

    @table(
        ("Sitemap: https://a.example/1.xml\n",), ("User-agent: X\nsitemap:https://a.example/1.xml\nDisallow: /\n",),
        ("site-map: https://a.example/1.xml # the map\n",),
    )  # fmt: skip
    def test_sitemaps_are_everybodys(self, row: tuple[str]) -> None:
        assert Rules(row[0].encode(), "FooBot").sitemaps == ["https://a.example/1.xml"]

    @table(
        ("/", "/a/b;c?d=e#f"), ("/a/b;c", "/a/b;c?d=e"), ("/a/b?d", "/a/b?d=e&f=g"), ("/*?", "/a?b"), ("/*;", "/a;b"),
    )  # fmt: skip
    def test_parameters_and_queries_are_part_of_the_path(self, row: tuple[str, str]) -> None:
        assert disallowed(*row)


class TestCrawlDelay:
    """No rule of the RFC: a number of seconds for the agents before it."""

    @table(
        ("user-agent: *\ncrawl-delay: 5\n", 5.0), ("user-agent: *\ncrawl-delay: 0.5\n", 0.5),
        ("user-agent: *\nCrawl-Delay : 5 # s\n", 5.0), ("user-agent: *\ncrawl-delay: soon\n", None),
        ("user-agent: *\ncrawl-delay: -1\n", None), ("user-agent: *\ncrawl-delay: nan\n", None),
        ("user-agent: *\ncrawl-delay: inf\n", None), ("user-agent: *\ncrawl-delay:\n", None),
        ("crawl-delay: 5\n", None),
        ("user-agent: *\ncrawl-delay: 5\nuser-agent: foobot\ndisallow: /x\n", None),
        ("user-agent: *\ndisallow: /\nuser-agent: foobot\ncrawl-delay: 7\n", 7.0),
        ("user-agent: foobot\ncrawl-delay: 2\nuser-agent: foobot\ncrawl-delay: 9\n", 9.0),
        ("user-agent: bingbot\ncrawl-delay: 10\n\nuser-agent: *\ndisallow: /x\n", None),
        ("user-agent: bingbot\nuser-agent: foobot\ncrawl-delay: 10\n", 10.0),
    )  # fmt: skip
    def test_it_is_its_groups(self, row: tuple[str, float | None]) -> None:
        text, expected = row
        assert Rules(text.encode(), "FooBot").crawl_delay_s == expected

    def test_it_does_not_part_the_rules_of_a_group(self) -> None:
        text = "user-agent: bingbot\ncrawl-delay: 10\n\nuser-agent: *\ndisallow: /x\n"
        assert not allows(text, "/x", "bingbot")
        assert not allows(text, "/x", "foobot")


class TestHostileFiles:
    def test_bytes_that_are_no_text_and_pages_in_place_of_rules(self) -> None:
        assert not allows(b"\xff\xfe\0junk\nuser-agent: *\n\0disallow: /\n", "/x")
        assert allows("<!DOCTYPE html><html>not found</html>", "/x")
        assert allows(bytes(range(256)) * 2_000, "/x")
        assert allows(b"\n" * 500_000, "/x")
        assert allows(b":" * 500_000, "/x")

    def test_a_whole_file_of_wildcards_is_read_and_matched_in_bounded_time(self) -> None:
        import time

        lines = "".join(f"disallow: /*{n}*a*b*c*d*$\n" for n in range(20_000))
        began = time.monotonic()
        rules = Rules(("user-agent: *\n" + lines).encode()[: 500 * 1024], "FooBot")
        read_s, began = time.monotonic() - began, time.monotonic()
        rules.allow(SITE + "/" + "abcd" * 500)
        assert read_s < 5
        assert time.monotonic() - began < 5
