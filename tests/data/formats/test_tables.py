from __future__ import annotations

from pathlib import Path

import pytest
from reading import how, read, write

from mlx_tiny.data.documents import Tally
from mlx_tiny.errors import TinyError

BASKETS = ["milk,bread", "beer", "eggs,milk,bread,butter", "tea,jam,bread", "beer,crisps"]


class TestWidths:
    @pytest.mark.parametrize("late", [0, 3000])
    @pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
    @pytest.mark.parametrize(
        ("header", "row", "widths"),
        [
            ("text", "One, two", (2, 1)),
            ("id,text", "1,One, two", (3, 2)),
            ("id,text", "1", (1, 2)),
            ("text,id", "One", (1, 2)),
            ("text,n", "One,two,three,four", (4, 2)),
            ("id,text", "1,One,", (3, 2)),
        ],
    )
    def test_a_row_of_another_width(
        self, tmp_path: Path, name: str, header: str, row: str, widths: tuple[int, int], late: int
    ) -> None:
        good = header.replace("id", "1").replace("n", "2").replace("text", "Fine.")
        content = f"{header}\n" + f"{good}\n" * late + f"{row}\nThree\n"
        content = content.replace(",", "\t") if ".tsv" in name else content
        with pytest.raises(TinyError) as caught:
            read(write(tmp_path / name, content))
        assert caught.match(rf"Line {late + 2} of .* has {widths[0]} cells?, and the header has {widths[1]}\b")
        assert caught.match(f"line 1 .*header: {', '.join(header.split(','))}.*--no-header")

    def test_the_line_after_cells_of_several_lines(self, tmp_path: Path) -> None:
        with pytest.raises(TinyError, match="Line 5 of "):
            read(write(tmp_path / "a.csv", 'n,text\n1,"One\ntwo\n"\n2\n'))

    def test_blank_lines_are_no_rows(self, tmp_path: Path) -> None:
        tally = Tally()
        assert read(write(tmp_path / "a.csv", "\n \nn,text\n\n1,One\n  \n2,Two\n\n"), tally) == ["One", "Two"]
        assert not tally.skipped


class TestDialect:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
    def test_delimiters(self, tmp_path: Path, delimiter: str, name: str) -> None:
        rows = [["id", "text", "n"], ["1", "One", "0.5"], ["2", "Two: a", "1"]]
        path = write(tmp_path / name, "\n".join(map(delimiter.join, rows)))
        assert read(path) == ["One", "Two: a"]
        assert ("tab" if delimiter == "\t" else delimiter) in how(path)

    @pytest.mark.parametrize(
        ("content", "documents"),
        [
            pytest.param('id, text\n1, "One, two"\n', ["One, two"], id="spaces after delimiters"),
            pytest.param('id, text\n1, "One"\n2, Two\n', ["One", "Two"], id="needless quotes after spaces"),
            pytest.param("id;text\n1;One, two\n2;Three\n", ["One, two", "Three"], id="semicolons"),
            pytest.param("sep=;\ntext;n\nOne, two;1\n", ["One, two"], id="named delimiter"),
            pytest.param("sep=,\r\ntext\r\nOne; two\r\n", ["One; two"], id="named delimiter of one column"),
            pytest.param("sep=e\nOne\nTwo", ["One", "Two"], id="no named delimiter"),
            pytest.param("text\nOne; two | three\n", ["One; two | three"], id="other delimiters in texts"),
            pytest.param("id;price;text\n1;0,5;One\n2;1,5;Two, a\n", ["One", "Two, a"], id="decimal commas"),
            pytest.param('"id";"te;xt";"text"\n1;2;"One;"\n', ["One;"], id="quoted names"),
            pytest.param('id,text\n1,"One, ""two""\nlines"\n', ['One, "two"\nlines'], id="quoted"),
            pytest.param("text,n\rOne,1\rTwo,2\r", ["One", "Two"], id="carriage returns"),
            pytest.param("\ufefftext,n\r\nOne,1\r\n", ["One"], id="byte order mark"),
            pytest.param(f"text\n{'x' * 200_000}\n", ["x" * 200_000], id="cells beyond the csv module's limit"),
        ],
    )
    def test_csv(self, tmp_path: Path, content: str, documents: list[str]) -> None:
        assert read(write(tmp_path / "a.csv", content)) == documents

    @pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
    @pytest.mark.parametrize(
        ("cells", "documents"),
        [
            (['"Oh', "Two", 'end"'], ['"Oh', "Two", 'end"']),
            (['"One, ""two"""', "Two"], ['One, "two"', "Two"]),
            (['"One"', '"Oh" she said'], ['"One"', '"Oh" she said']),
            (['"One\ntwo"', "Two"], ["One\ntwo", "Two"]),
            (['6" nails', "5' 3\""], ['6" nails', "5' 3\""]),
        ],
    )
    def test_quotes_between_tabs(self, tmp_path: Path, name: str, cells: list[str], documents: list[str]) -> None:
        rows = [f"{number}\t{cell}\n" for number, cell in enumerate(cells)]
        assert read(write(tmp_path / name, "id\ttext\n" + "".join(rows))) == documents

    def test_a_quote_between_tabs_that_is_never_closed(self, tmp_path: Path) -> None:
        rows = '1\t"One"\n' * 2000 + '2\t"Oh\n3\tThree\n4\tend"\n'
        with pytest.raises(TinyError, match=r"Line 2002 of .*quote"):
            read(write(tmp_path / "a.tsv", f"id\ttext\n{rows}"))

    def test_two_delimiters_fit(self, tmp_path: Path) -> None:
        with pytest.raises(TinyError, match=r"separates its cells.*','.*';'.*sep="):
            read(write(tmp_path / "a.csv", "a,b;c\n1,x;y\n"))

    def test_quotes_that_do_not_match(self, tmp_path: Path) -> None:
        with pytest.raises(TinyError, match=r"Line 3 of .* malformed.*quotes"):
            read(write(tmp_path / "a.csv", 'n,text\n1,One\n2,"Two\n3,Three\n'))


class TestColumn:
    @pytest.mark.parametrize(
        ("content", "documents"),
        [
            pytest.param("id,tale,score\n1,One,0.5\n2,Two,\n\n3,,1\n", ["One", "Two"], id="the only text"),
            pytest.param("title,Story \nT,One\nU,Two\n", ["One", "Two"], id="a usual name"),
            pytest.param("text,label\n0101,even\n1,odd\n", ["0101", "1"], id="digits"),
            pytest.param("text\n1\n2\n", ["1", "2"], id="only digits"),
            pytest.param("text,n\n,1\n,2\nOne,3\n", ["One"], id="mostly empty"),
            pytest.param("left,right\na,b\n'c',d\n", ["a,b", "'c',d"], id="whole rows of two texts"),
            pytest.param('left,right\n"a, ""b""\nc",d\ne,f\n', ['"a, ""b""\nc",d', "e,f"], id="whole rows with quotes"),
            pytest.param("n,m\n1,2\n3,4\n", ["1,2", "3,4"], id="whole rows of numbers"),
            pytest.param("prompt,completion\n2?,4\n", ["<|user|>2?<|assistant|>4"], id="chats"),
        ],
    )
    def test_found(self, tmp_path: Path, content: str, documents: list[str]) -> None:
        assert read(write(tmp_path / "a.csv", content)) == documents

    def test_it_is_said(self, tmp_path: Path) -> None:
        assert "'text' (50 %" in how(write(tmp_path / "a.csv", "text,n\nOne,1\n,2\n"))
        assert "header of 2: left, right" in how(write(tmp_path / "b.csv", "left,right\na,b\n"))

    def test_empty_cells_are_counted(self, tmp_path: Path) -> None:
        tally = Tally()
        assert read(write(tmp_path / "a.csv", 'text,n\nOne,1\n,2\n" ",3\n'), tally) == ["One"]
        assert (tally.documents, tally.skipped.total()) == (1, 2)
        assert read(write(tmp_path / "b.csv", 'text\nOne\n""\n'), tally) == ["One"]
        assert tally.skipped.total() == 3

    def test_named(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", "title\t text\nT\tOne\n")
        assert (read(path, column="title"), read(path, column="text")) == (["T"], ["One"])
        with pytest.raises(TinyError, match=r"no column 'body'\. Got the columns title, text\."):
            read(path, column="body")

    def test_several_usual_names(self, tmp_path: Path) -> None:
        with pytest.raises(TinyError, match=r"which column contains the text.*text, story.*--text-column"):
            read(write(tmp_path / "a.csv", "text,story\na,b\n"))

    def test_messages_are_short_for_long_names(self, tmp_path: Path) -> None:
        name = "x" * 100_000
        path = write(tmp_path / "a.jsonl", f'{{"{name}": "One"}}\n{{"{name}": 1}}\n')
        assert len(how(path)) < 1000
        with pytest.raises(TinyError) as caught:
            read(path)
        assert len(str(caught.value)) < 1000

    def test_messages_are_short_for_many_columns(self, tmp_path: Path) -> None:
        names = ",".join(f"column{number}" for number in range(20_000))
        for content, column in ((f"{names}\n1,2\n", None), (f"{names}\n{names}\n", None), (f"{names}\n", "absent")):
            with pytest.raises(TinyError) as caught:
                read(write(tmp_path / "a.csv", content), column=column)
            assert len(str(caught.value)) < 1000
        assert len(how(tmp_path / "a.csv")) < 1000


class TestHeader:
    @pytest.mark.parametrize(
        "content",
        [
            pytest.param("text,text\na,b\n", id="two columns of one name"),
            pytest.param("a,b,a\nx,y,z\n", id="two columns of one name in whole rows"),
            pytest.param("1,One\n2,Two\n", id="numbers"),
            pytest.param("pos,Great\nneg,Bad\npos,Good\n", id="a repeated cell"),
            pytest.param(f"{'A long sentence. ' * 10},x\nAnother.,y\n", id="a long cell"),
            pytest.param("The cat sat.\nThe dog ran.\n", id="a sentence"),
            pytest.param("# made by hand\nid,text\n1,One\n", id="a comment"),
            pytest.param("# made by hand\ntext\nOne\n", id="a comment in one column"),
            pytest.param("# made, by hand\nid,text\n1,One\n", id="a comment with a comma"),
        ],
    )
    def test_what_is_no_header(self, tmp_path: Path, content: str) -> None:
        first = content.split(",")[0].split("\n")[0][:20].strip()
        with pytest.raises(TinyError, match=f"line 1 as the header: {first}.*--no-header"):
            read(write(tmp_path / "a.csv", content))

    def test_a_usual_name_or_the_user_s_makes_it_one(self, tmp_path: Path) -> None:
        assert read(write(tmp_path / "a.csv", "#id,text,2020\n1,One,5\n")) == ["One"]
        assert read(write(tmp_path / "a.csv", "town,2019,2020\nA,1,2\n"), column="town") == ["A"]

    @pytest.mark.parametrize(
        ("content", "column", "documents"),
        [
            ("1,One\n2,Two\n", None, ["One", "Two"]),
            ("One,a\nTwo,b\n", "1", ["One", "Two"]),
            ("One,a\nTwo,b\n", None, ["One,a", "Two,b"]),
            ("One, two\nThree\n", None, ["One, two", "Three"]),
            ("emma\nolivia\n", None, ["emma", "olivia"]),
        ],
    )
    def test_without(self, tmp_path: Path, content: str, column: str | None, documents: list[str]) -> None:
        path = write(tmp_path / "a.csv", content)
        assert read(path, header=False, column=column) == documents
        assert "no header" in how(path, header=False, column=column)

    def test_without_but_named(self, tmp_path: Path) -> None:
        with pytest.raises(TinyError, match=r"no column '3'. Got the columns 1, 2"):
            read(write(tmp_path / "a.csv", "One,a\n"), header=False, column="3")
        with pytest.raises(TinyError, match=r"Line 2 of .* has 1 cell, and the first row has 2"):
            read(write(tmp_path / "a.csv", "One,a\nTwo\n"), header=False, column="1")


class TestBaskets:
    def test_each_line_is_a_document(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "\n".join(BASKETS * 4))
        tally = Tally()
        assert read(path, tally) == BASKETS * 4
        assert tally.documents == 20
        assert "no header and rows of 1 to 4 cells: each line" in how(path)

    def test_late_rows_of_any_width(self, tmp_path: Path) -> None:
        lines = [*BASKETS * 400, 'a "b,c,d,e,f,g']
        assert read(write(tmp_path / "a.csv", "\n".join(lines))) == lines

    @pytest.mark.parametrize(
        "lines",
        [BASKETS, ["id,text", *BASKETS * 4], ["a,b", *["1,2"] * 20, "3"]],
        ids=["few", "usual name", "most fit"],
    )
    def test_others_are_refused(self, tmp_path: Path, lines: list[str]) -> None:
        with pytest.raises(TinyError, match="header"):
            read(write(tmp_path / "a.csv", "\n".join(lines)))
