from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reading import how, read, write, write_lines

from mlx_tiny.data import opening
from mlx_tiny.data.documents import Tally
from mlx_tiny.data.formats import jsons
from mlx_tiny.errors import TinyError

MESSAGES = [{"role": "user", "content": " Hi\r\nthere "}, {"role": "assistant", "content": "Hello"}]


class TestKey:
    @pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.zst", "a.json"])
    def test_the_only_texts(self, tmp_path: Path, name: str) -> None:
        rows = [{"id": 1, "tale": "One"}, {"id": 2, "tale": " Two\r\nlines "}, {"id": 3, "tale": " "}]
        tally = Tally()
        assert read(write(tmp_path / name, "\n\n".join(map(json.dumps, rows))), tally) == ["One", "Two\nlines"]
        assert (tally.documents, dict(tally.skipped)) == (2, {"empty text": 1})

    def test_a_usual_name_wins(self, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "a.jsonl", {"text": None, "source": "wiki"}, {"text": "Once.", "source": "a"})
        tally = Tally()
        assert read(path, tally) == ["Once."]
        assert tally.skipped == {"null text": 1}
        assert "'text' (50 %" in how(path)

    def test_the_choice_looks_at_many_rows(self, tmp_path: Path) -> None:
        rows: list[Any] = [{"text": None, "source": "wiki"}] * 2000 + [{"text": "Once.", "source": "wiki"}]
        assert read(write_lines(tmp_path / "a.jsonl", *rows)) == ["Once."]
        rows = [{"n": 1}] * 500 + [{"n": 1, "source": "wiki", "Text": "Once."}]
        with pytest.raises(TinyError, match=r"Line 1 of .* no key 'Text'"):
            read(write_lines(tmp_path / "a.jsonl", *rows))

    def test_the_user_s_key_wins(self, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "a.jsonl", {"title": "T", "Text": "One", "messages": MESSAGES})
        assert read(path) == ["One"]
        assert read(path, column="title") == ["T"]
        assert len(read(path, column="messages")) == 1
        with pytest.raises(TinyError, match=r"no key 'body'.*the keys title, Text, messages"):
            read(path, column="body")

    @pytest.mark.parametrize(
        "row",
        [
            {"left": "a", "right": "b", "n": 1},
            {"text": "a", "story": "b"},
            {"n": 1},
            {"prompt": "a", "answer": "b"},
            {"id": "a1", "conversations": [{"from": "human", "value": "Hi"}]},
            {"version": "1.1", "data": [{"text": "One"}]},
            {"title": "Book", "chapters": ["One", "Two"]},
            {"id": "a1", "data": {"text": "One"}},
            {"question": "x", "answer": ["y"]},
            {"prompt": "p", "chosen": [{}]},
        ],
    )
    def test_ambiguous(self, tmp_path: Path, row: dict[str, Any]) -> None:
        with pytest.raises(TinyError, match=f"which key contains the text.*the keys {', '.join(row)}.*--text-column"):
            read(write_lines(tmp_path / "a.jsonl", row))

    @pytest.mark.parametrize(
        ("row", "key"),
        [
            ({"id": "a", "conversations": [{"from": "human", "value": "Hi"}]}, "messages"),
            ({"instruction": "Add.", "input": "1, 2", "output": "3"}, "prompt"),
        ],
    )
    def test_another_form_of_chats_is_told_the_form_that_is_read(
        self, tmp_path: Path, row: dict[str, Any], key: str
    ) -> None:
        with pytest.raises(TinyError, match=f'"{key}": '):
            read(write_lines(tmp_path / "a.jsonl", row))

    @pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
    @pytest.mark.parametrize(
        ("late", "key"),
        [
            ({"title": "t", "text": "real"}, "text"),
            ({"title": "t", "messages": MESSAGES}, "messages"),
            ({"title": "t", "n": 1, "chapter": "One"}, "chapter"),
            ({"title": "t", "empty": "real"}, "empty"),
            ({"title": "t", "parts": ["One"]}, "parts"),
            ({"title": "t", "n": "One"}, "n"),
        ],
    )
    def test_text_beside_the_only_texts_comes_late(
        self, tmp_path: Path, name: str, late: dict[str, Any], key: str
    ) -> None:
        titles = [f"Tale {number}" for number in range(1000)]
        rows: list[Any] = [{"title": title, "n": 1, "empty": None} for title in titles]
        rows += [{"title": "t", "new": None}, late]
        path = write_lines(tmp_path / name, *rows)
        with pytest.raises(TinyError, match=rf"Line 1002 of .*'{key}'.*--text-column"):
            read(path)
        assert read(path, column="title") == [*titles, "t", "t"]

    def test_a_second_usual_name_comes_late(self, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "a.jsonl", *[{"text": "t"}] * 1000, {"text": "t", "meta": "m", "body": "real"})
        with pytest.raises(TinyError, match=r"Line 1001 of .*'body'.*--text-column"):
            read(path)

    @pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
    def test_the_choice_looks_beyond_nulls(self, tmp_path: Path, name: str) -> None:
        rows = ["null"] * 1001 + ['{"text": "a"}']
        content = "\n".join(rows) if name == "a.jsonl" else f"[{', '.join(rows)}]"
        assert read(write(tmp_path / name, content)) == ["a"]

    @pytest.mark.parametrize("value", [["a"], {"a": 1}, 5, True, [1], 0.5])
    def test_a_usual_name_without_text_is_not_replaced(self, tmp_path: Path, value: Any) -> None:
        path = write_lines(tmp_path / "a.jsonl", {"text": value, "source": "wiki"})
        with pytest.raises(
            TinyError, match=r"'text' of .* contains no text\. Got (list|object|number|boolean).*source"
        ):
            read(path)

    def test_rows_that_are_strings(self, tmp_path: Path) -> None:
        assert read(write_lines(tmp_path / "a.jsonl", "One", None, "Two")) == ["One", "Two"]
        with pytest.raises(TinyError, match=r"Line 1 of .* JSON object"):
            read(tmp_path / "a.jsonl", column="text")

    def test_carriage_returns_end_lines(self, tmp_path: Path) -> None:
        assert read(write(tmp_path / "a.jsonl", '{"text": "One"}\r{"text": "Two"}\r')) == ["One", "Two"]

    def test_a_marker_in_a_text_is_counted(self, tmp_path: Path) -> None:
        texts = ["One <|endoftext|> two", "<|user|>Hi", "<|x|>", "Three"]
        tally = Tally()
        assert read(write_lines(tmp_path / "a.jsonl", *({"text": text} for text in texts)), tally) == texts
        assert tally.markers == 2


@pytest.mark.parametrize("late", [False, True], ids=["at the beginning", "after it"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "is not valid JSON"),
        ("[" * 20_000, "is not valid JSON"),
        ('{"text": "a", "text": "b"}', "not valid JSON.*'text' twice"),
        ('{"text": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[1]", "malformed. Expected a JSON object, got list"),
        ('"One"', "malformed. Expected a JSON object, got text"),
        ('{"other": "x"}', "no key 'text'. Got the keys other"),
        ("{}", "no key 'text'. Got an empty object"),
        ('{"text": 5}', "no text under 'text'. Got int"),
        (r'{"text": "half \ud83d"}', "half of a surrogate pair"),
        (r'{"text": "a\u0000b"}', r"U\+0000"),
    ],
)
def test_faulty_lines_are_named(tmp_path: Path, name: str, line: str, message: str, late: bool) -> None:
    before = 2000 if late else 1
    path = write(tmp_path / name, '{"text": "One"}\n' * before + f"\n{line}\n" + '{"text": "Two"}\n')
    with pytest.raises(TinyError) as caught:
        read(path)
    assert caught.match(message)
    assert caught.match(f"Line {before + 2} of .*{name}")
    assert len(str(caught.value)) < 1000


class TestArray:
    @pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
    @pytest.mark.parametrize("indent", [None, 2])
    def test_rows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, indent: int | None) -> None:
        monkeypatch.setattr(opening, "BLOCK_BYTES", block_bytes)
        rows = [{"text": "One, [two] é\n", "n": 12}, {"text": 'a "quoted" \\ }'}, {"text": None}, None, {"text": "5"}]
        tally = Tally()
        path = write(tmp_path / "a.json", json.dumps(rows, indent=indent))
        assert read(path, tally) == ["One, [two] é", 'a "quoted" \\ }', "5"]
        assert tally.skipped == {"null text": 2}

    @pytest.mark.parametrize("block_bytes", [1, 1 << 20])
    def test_one_object_over_several_lines_after_the_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
    ) -> None:
        monkeypatch.setattr(opening, "BLOCK_BYTES", block_bytes)
        rows = [{"text": "One"}, {"text": "Two"}]
        assert read(write(tmp_path / "a.json", "\n".join(json.dumps(row, indent=1) for row in rows))) == ["One", "Two"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('[{"text": "a"}\n{"text": "b"}]', "Line 2 .*comma"),
            ('[{"text": "a"},\n]', "Line 2 .* not valid JSON"),
            ('[{"text": "a"}', "Line 1 .*comma"),
            ('[{"text": "a"}]\n\n[]', "Line 3 .*nothing after"),
            ('[\n{"text": "a"},\n{"text":\n "b', "Line 4 .* not valid JSON"),
            ('{"data": [{"text": "a"}]}', "which key contains"),
        ],
    )
    def test_faults(self, tmp_path: Path, content: str, message: str) -> None:
        with pytest.raises(TinyError, match=message):
            read(write(tmp_path / "a.json", content))

    def test_one_line_that_is_longer_than_a_document_may_be(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (opening, jsons):
            monkeypatch.setattr(module, "LARGEST_DOCUMENT_BYTES", 64)
        monkeypatch.setattr(opening, "BLOCK_BYTES", 16)
        rows = [{"text": f"Text {number}, \U0001f600 and é"} for number in range(20)]
        path = write(tmp_path / "a.json", json.dumps(rows, ensure_ascii=False))
        assert read(path) == [row["text"] for row in rows]
        with pytest.raises(TinyError, match=r"from line 2 of .* too large"):
            read(write(tmp_path / "a.json", '[\n{"text": "' + "x" * 400 + '"}]'))

    @pytest.mark.parametrize("block_bytes", [1, 3, 1 << 20])
    def test_bytes_that_are_not_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
        monkeypatch.setattr(opening, "BLOCK_BYTES", block_bytes)
        for raw in (
            b'[{"text":\n"a\xff"}]',
            b'[{"text":\n"\xf0\x9f\x98',
            b'[\n"\xe2\x82"]',
            b'[\n"\x82\x82\x82\x82\x82',
        ):
            with pytest.raises(TinyError, match=r"not valid UTF-8\. Got byte .* in line 2"):
                read(write(tmp_path / "a.json", raw))

    def test_empty(self, tmp_path: Path) -> None:
        for content in ("[]", " \n", "[null]"):
            assert read(write(tmp_path / "a.json", content)) == []


class TestChats:
    def test_turns(self, tmp_path: Path) -> None:
        tally = Tally()
        rows = [
            {"messages": MESSAGES, "id": "x"},
            {"messages": [{"role": "system", "content": [{"type": "text", "text": "Be "}, "kind"]}, *MESSAGES]},
            {"messages": []},
            {"messages": None},
            {"messages": [{"role": "user", "content": ""}]},
        ]
        expected = "<|user|>Hi\nthere<|assistant|>Hello"
        assert read(write_lines(tmp_path / "a.jsonl", *rows), tally) == [expected, f"<|system|>Be kind{expected}"]
        assert tally.roles == {"system", "user", "assistant"}
        assert (tally.documents, tally.skipped.total(), tally.markers) == (2, 3, 0)

    def test_prompt_and_completion(self, tmp_path: Path) -> None:
        tally = Tally()
        rows = [{"prompt": "2 + 2? ", "completion": " 4"}, {"prompt": "?", "completion": None}]
        rows += [{"prompt": "?", "completion": " "}]
        assert read(write_lines(tmp_path / "a.jsonl", *rows), tally) == ["<|user|>2 + 2?<|assistant|>4"]
        assert (tally.roles, tally.skipped.total()) == ({"user", "assistant"}, 2)

    @pytest.mark.parametrize("key", ["prompt", "completion"])
    @pytest.mark.parametrize(("value", "found"), [(["x"], "list"), (5, "int"), ({}, "dict")])
    def test_a_pair_is_never_halved(self, tmp_path: Path, key: str, value: Any, found: str) -> None:
        pair = {"prompt": "p", "completion": "c"}
        for line, rows in ((2, [pair, pair | {key: value}]), (1, [pair | {key: value}, pair])):
            with pytest.raises(TinyError, match=rf"Line {line} of .* no text under '{key}'. Got {found}"):
                read(write_lines(tmp_path / "a.jsonl", *rows))

    @pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
    def test_messages_that_are_rows(self, tmp_path: Path, name: str) -> None:
        content = json.dumps(MESSAGES) if name == "a.json" else "\n".join(map(json.dumps, MESSAGES))
        path = write(tmp_path / name, content)
        with pytest.raises(TinyError, match=r'chat.*\{"messages": .*--text-column content'):
            read(path)
        assert read(path, column="content") == ["Hi\nthere", "Hello"]

    def test_markers_in_what_is_said_are_counted(self, tmp_path: Path) -> None:
        tally = Tally()
        said = ["Say <|assistant|>", "<|pirate|> and <|endoftext|>", "<|x|>"]
        rows = [{"messages": [{"role": "pirate", "content": content}]} for content in said]
        assert len(read(write_lines(tmp_path / "a.jsonl", *rows), tally)) == 3
        assert tally.markers == 2

    @pytest.mark.parametrize(
        "messages",
        [
            "Hi",
            ["Hi"],
            [{"role": "user"}],
            [{"role": "user", "content": None}],
            [{"role": "user", "content": 5}],
            [{"role": "user", "content": {"text": "Hi"}}],
            [{"role": "user", "content": [{"type": "image", "url": "x"}]}],
            [{"role": "user", "content": [{"type": "text"}]}],
            [{"role": "not a role", "content": "Hi"}],
            [{"role": 1, "content": "Hi"}],
            [{"from": "human", "value": "Hi"}],
            [{"role": "assistant", "content": "Hi", "tool_calls": [{"id": 1}]}],
        ],
    )
    def test_anything_else_is_an_error(self, tmp_path: Path, messages: Any) -> None:
        path = write_lines(tmp_path / "a.jsonl", {"messages": MESSAGES}, {"messages": messages})
        with pytest.raises(TinyError, match=r"Line 2 of .* chat") as caught:
            read(path)
        assert "<class" not in str(caught.value)
