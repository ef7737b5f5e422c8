from __future__ import annotations

from pathlib import Path

import pytest
from reading import how, read, write

from mlx_tiny.data.documents import Tally
from mlx_tiny.errors import TinyError


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
            pytest.param("sep=\\t\ntext\tn\nOne\t1\n", ["One"], id="a named tab"),
            pytest.param('"sep=;"\ntext;n\nOne;1\n', ["One"], id="a named delimiter in quotes"),
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

    def test_quotes_between_tabs_that_are_escaped(self, tmp_path: Path) -> None:
        rows = ['"1"\t0\t"A \\"fine\\" film in C:\\dir"', '"2"\t1\t"One"', '"3"\t1\tTwo "b"']
        path = write(tmp_path / "a.tsv", "\n".join(["id\tn\treview", *rows]))
        assert read(path, column="review") == ['A "fine" film in C:\\dir', "One", 'Two "b"']
        late = write(tmp_path / "b.tsv", "\n".join(["id\tn\ttext", *rows * 500, '"4"\t1\t"Oh\\"']))
        assert read(late)[-2:] == ['Two "b"', '"Oh\\"']

    def test_a_quote_between_tabs_that_is_never_closed(self, tmp_path: Path) -> None:
        rows = '1\t"One"\n' * 2000 + '2\t"Oh\n3\tThree\n4\tend"\n'
        with pytest.raises(TinyError, match=r"Line 2002 of .*quote"):
            read(write(tmp_path / "a.tsv", f"id\ttext\n{rows}"))

    @pytest.mark.parametrize(
        ("content", "documents"),
        [
            ('text\n"Oh\nTwo\nend"\n', ['"Oh', "Two", 'end"']),
            ('"text"\n"Oh\nTwo"\n', ["Oh\nTwo"]),
            ('"id"\t"body"\n"20"\t"\nWord"\n"21"\t"Two"\n', ["Word", "Two"]),
        ],
    )
    def test_quotes_of_a_tsv_as_the_header_shows(self, tmp_path: Path, content: str, documents: list[str]) -> None:
        assert read(write(tmp_path / "a.tsv", content)) == documents

    def test_rows_of_a_quoted_tsv_are_not_split(self, tmp_path: Path) -> None:
        with pytest.raises(TinyError, match=r"Line 2 of .*quote"):
            read(write(tmp_path / "a.tsv", '"id"\t"body"\n"20"\t"\nWord\t"\n'))

    @pytest.mark.parametrize("late", [0, 1500])
    @pytest.mark.parametrize(
        "rows",
        ['1,"Oh\n2,Two\n3,end"\n', 'a,"Oh\nb,Two\nc,end"\n'],
        ids=["numbers", "names"],
    )
    def test_a_cell_that_contains_rows(self, tmp_path: Path, rows: str, late: int) -> None:
        content = "id,text\n" + "1,One\n" * late + rows
        with pytest.raises(TinyError, match=rf"Line {late + 2} of .*quote"):
            read(write(tmp_path / "a.csv", content))

    @pytest.mark.parametrize(
        ("content", "documents"),
        [
            ('id,text\n1,"Dear Ann,\nthanks, and bye"\n', ["Dear Ann,\nthanks, and bye"]),
            ('id,text\nx,"Dear Ann\nthanks, and bye"\n', ["Dear Ann\nthanks, and bye"]),
            ('id,text\n1,"Dear Ann\nthanks,bye"\n', ["Dear Ann\nthanks,bye"]),
            ('text,n\n"One\ntwo",1\n', ["One\ntwo"]),
            ('text\n"One\ntwo"\n', ["One\ntwo"]),
            ('id,tale\n5,"In all:\n1,000 men"\n6,"Hi, all"\n', ["In all:\n1,000 men", "Hi, all"]),
            ('id,tale\n5,"""Hi"", he said"\n6,"In all:\n1,000"\n', ['"Hi", he said', "In all:\n1,000"]),
            ('name,text\nBob,"red\nblue,green"\nAnn,"a\nb"\n', ["red\nblue,green", "a\nb"]),
            ('name,text\nBob,"Main St 5\nBerlin,DE"\n', ["Main St 5\nBerlin,DE"]),
            (
                "id,text\n" + '1,"Oh, well"\n' * 1500 + '2,"In 2020:\n3,500 men"\n',
                ["Oh, well"] * 1500 + ["In 2020:\n3,500 men"],
            ),
            (
                "id,text\n" + "1,Well\n" * 1500 + '2,"Oh, well"\n3,"In 2020:\n3,500"\n',
                ["Well"] * 1500 + ["Oh, well", "In 2020:\n3,500"],
            ),
        ],
    )
    def test_a_cell_of_several_lines(self, tmp_path: Path, content: str, documents: list[str]) -> None:
        assert read(write(tmp_path / "a.csv", content)) == documents

    def test_two_delimiters_fit(self, tmp_path: Path) -> None:
        with pytest.raises(TinyError, match=r"separates its cells.*','.*';'.*sep="):
            read(write(tmp_path / "a.csv", "a,b;c\n1,x;y\n"))

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            ("id~text\n1~One\n2~Two\n", "'~'"),
            ("id:text\n1:One, a\n", "':'"),
            ("id::text\n1::One\n", "':'"),
            ("sep=::\nid::text\n1::One\n", "sep=::"),
            ('sep="\nid"text\n1"One\n', 'sep="'),
            ("sep=\nid,text\n1,One\n", "sep="),
            ("sep=e\nOne\nTwo", "sep=e"),
        ],
    )
    @pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
    def test_unknown_delimiters(self, tmp_path: Path, name: str, content: str, found: str) -> None:
        with pytest.raises(TinyError, match=f"(separated by|delimiter).*{found}.*"):
            read(write(tmp_path / name, content))

    def test_a_width_error_names_the_delimiter(self, tmp_path: Path) -> None:
        content = 'Text\r\n"Er sagte: ""Ja; gut"", und ging."\r\nSie schlief, lange.\r\n'
        with pytest.raises(TinyError, match=r"Line 3 of .*delimiter ','.*sep=;"):
            read(write(tmp_path / "a.csv", content))
        documents = ['Er sagte: "Ja; gut", und ging.', "Sie schlief, lange."]
        assert read(write(tmp_path / "a.csv", f"sep=;\r\n{content}")) == documents

    @pytest.mark.parametrize(
        "lines",
        [
            ["https://a.org/b", "https://c.org/d"],
            ["Who is there?", "Where are you?"],
            ["See http://a.org/b!", "No (http://a.org/c)!"],
            ['He said "why?"', 'She said "who?"'],
        ],
    )
    def test_addresses_and_ends_of_sentences_are_no_delimiters(self, tmp_path: Path, lines: list[str]) -> None:
        path = write(tmp_path / "a.csv", "\n".join(lines))
        with pytest.raises(TinyError, match=r"first line .*--no-header"):
            read(path)
        assert read(path, header=False) == lines

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
            pytest.param("left,n,m\na,1,b\n'c',2,d\n", ["a,1,b", "'c',2,d"], id="whole rows of two texts"),
            pytest.param(
                'n,left,right\n1,"a, ""b""\nc",d\n2,e,f\n', ['1,"a, ""b""\nc",d', "2,e,f"], id="whole rows with quotes"
            ),
            pytest.param('name\n"0101"\n"0110"\n', ["0101", "0110"], id="quoted digits in the only column"),
            pytest.param(",text\n0,One\n1,Two\n", ["One", "Two"], id="an index without a name"),
            pytest.param("text,\nOne,\n", ["One"], id="nothing in the column without a name"),
            pytest.param("n,m\n1,2\n3,4\n", ["1,2", "3,4"], id="whole rows of numbers"),
            pytest.param("n;m\n1;2,5\n2;-3,5\n", ["1;2,5", "2;-3,5"], id="whole rows of numbers with decimal commas"),
            pytest.param("prompt,completion\n2?,4\n", ["<|user|>2?<|assistant|>4"], id="chats"),
        ],
    )
    def test_found(self, tmp_path: Path, content: str, documents: list[str]) -> None:
        assert read(write(tmp_path / "a.csv", content)) == documents

    def test_it_is_said(self, tmp_path: Path) -> None:
        assert "'text' (50 %" in how(write(tmp_path / "a.csv", "text,n\nOne,1\n,2\n"))
        assert "header of 3: left, right, n" in how(write(tmp_path / "b.csv", "left,right,n\na,b,1\nc,d,2\n"))

    def test_whole_rows_keep_empty_cells(self, tmp_path: Path) -> None:
        tally = Tally()
        rows = "n\tleft\tright\n1\ta\t\n2\t\tb\n\tc\td\n\t \t\n"
        assert read(write(tmp_path / "a.tsv", rows), tally) == ["1\ta\t", "2\t\tb", "\tc\td"]
        assert tally.skipped.total() == 1

    def test_empty_cells_are_counted(self, tmp_path: Path) -> None:
        tally = Tally()
        assert read(write(tmp_path / "a.csv", 'text,n\nOne,1\n,2\n" ",3\n'), tally) == ["One"]
        assert (tally.documents, tally.skipped.total()) == (1, 2)
        assert read(write(tmp_path / "b.csv", 'text\nOne\n""\n\n \n'), tally) == ["One"]
        assert tally.skipped.total() == 5

    def test_named(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv", "title\t text\nT\tOne\n")
        assert (read(path, column="title"), read(path, column="text")) == (["T"], ["One"])
        with pytest.raises(TinyError, match=r"no column 'body'\. Got the columns title, text\."):
            read(path, column="body")
        assert read(write(tmp_path / "a.csv", "num,lab\n0101,even\n"), column="num") == ["0101"]

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
        assert len(how(write(tmp_path / "a.csv", f"{names},n\n" + f"{'x,' * 20_000}1\n" * 2))) < 1000
