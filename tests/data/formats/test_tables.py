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
            pytest.param("One day a dog came.\nTwo cats sat.\nThree.\n", id="texts of one column"),
            pytest.param("Just one line of text", id="a line alone"),
            pytest.param("left,right\na,b\nc,d\n", id="names as good as cells"),
            pytest.param("pos,I liked it\nneg,I hated it\n", id="two columns"),
            pytest.param("I liked it,2020-01-01\nHated,2020-01-02\n", id="dates above dates"),
            pytest.param("Hello,Hi\nBye,I saw 3 cats\n", id="a digit by chance"),
            pytest.param("Good,\nBad,5\n", id="an empty cell above a number"),
            pytest.param("emma,x\n" + "olivia,y\nava,y\n" * 9, id="too few to show categories"),
            pytest.param("emma\n" + "olivia\nava\n" * 30, id="lines that recur"),
            pytest.param("Hello,there\nBye,5\n", id="one number"),
            pytest.param("Germany,2019,2021\nItaly,5,6\n", id="years that do not follow each other"),
            pytest.param("Germany,2019,2020\nItaly,2020,2021\n", id="years above years"),
            pytest.param("I liked it very much.,a\n5,b\n6,c\n", id="a sentence above numbers"),
            pytest.param("2020-01-01,One\n2020-01-02,Two\n", id="dates above dates in the first column"),
            pytest.param("Hello there\n" + "I have 3 cats\nI am 5\n" * 9, id="texts with digits"),
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
        "content",
        [
            pytest.param("tale,day\nOne,\nTwo,2020-01-01\nThree,NA\nFour,2020-01-02\n", id="dates"),
            pytest.param("tale,price\nOne,€ 1\nTwo,$0.50\nThree,7 %\n", id="amounts"),
            pytest.param("code,tale,tune\nA1,One,a\nA2,Two,b\nB1,Three,c\n", id="codes"),
            pytest.param("tale,feeling\n" + "One,good\nTwo,bad\n" * 10, id="categories"),
            pytest.param("x1,x2,x3\n1,2,3\n", id="names with digits above numbers"),
            pytest.param("student,test1,test2\nBob,5,6\n", id="one row"),
            pytest.param("Country,2019,2020\nGermany,1.5,2.5\n", id="years"),
            pytest.param("Country,Rank,2019,2020\nGermany,1,1990,1991\nItaly,2,2,3\n", id="years beside a name"),
            pytest.param("S. No.,Name,City\n1,Ann,Rome\n2,Bob,Oslo\n", id="an abbreviation"),
            pytest.param("No. of men,Town\n1,Rome\n2,Oslo\n", id="an abbreviation within"),
            pytest.param("#,Name,Type 1,HP\n1,Bulb,Grass,45\n4,Char,Fire,39\n", id="a number sign"),
            pytest.param("#chrom,pos,id\nchr1,100,rs5\nchr2,200,rs6\n", id="a number sign before a name"),
        ],
    )
    def test_what_is_a_header(self, tmp_path: Path, content: str) -> None:
        names, *rows = content.splitlines()
        path = write(tmp_path / "a.csv", content)
        assert len(read(path)) == len(rows)
        assert not any(name in text for text in read(path) for name in names.split(","))

    @pytest.mark.parametrize(
        ("content", "line"),
        [
            ("# exported by X\nid,text\n" + "1,doc 1\n" * 12, 2),
            ("Data from 2020, cleaned\nid,text\n1,One\n2,Two\n", 2),
            ("Exported 2024,\n\nid,text\n1,One\n", 3),
            ("// c\ntext\nOne\n", 2),
            ("My stories\nby me\n\nText \nOne\n", 4),
            ("a,b\nx,y\nprompt,completion\nOne,Two\n", 3),
        ],
    )
    def test_a_later_line_is_the_header(self, tmp_path: Path, content: str, line: int) -> None:
        with pytest.raises(TinyError, match=rf"Line {line} of .* seems to be the header.*line 1 as"):
            read(write(tmp_path / "a.csv", content))

    def test_words_that_are_usual_names_below_a_header(self, tmp_path: Path) -> None:
        assert read(write(tmp_path / "a.csv", "id,word\n1,body\n2,text\n")) == ["body", "text"]

    @pytest.mark.parametrize(
        "content",
        [
            "text,\nOne, two\n",
            "id,text,\n1,One, two\n",
            "id,text,\n" + "1,One,\n" * 1500 + "1,One, 2\n",
            ",text\nx,One\n",
        ],
    )
    def test_text_below_no_name_is_not_dropped(self, tmp_path: Path, content: str) -> None:
        line = content.count("\n")
        with pytest.raises(TinyError, match=rf"Line {line} of .* without a name"):
            read(write(tmp_path / "a.csv", content))

    @pytest.mark.parametrize(
        "content",
        ["left,right\na,b\nc,d\n", "2019,2020\n1,2\n3,4\n", "name\nemma\nolivia\n", "Hi.\nA fine day.\n"],
    )
    def test_the_user_insists_on_it(self, tmp_path: Path, content: str) -> None:
        path = write(tmp_path / "a.csv", content)
        with pytest.raises(TinyError, match=r"--header\b.*--text-column.*--no-header"):
            read(path)
        assert read(path, header=True) == content.splitlines()[1:]

    @pytest.mark.parametrize("late", [1, 1500])
    @pytest.mark.parametrize("names", ["text,n", "n,tale", "left, right", ",text"])
    def test_a_later_row_that_repeats_it(self, tmp_path: Path, names: str, late: int) -> None:
        path = write(tmp_path / "a.csv", f"{names}\n" + "1,2\n" * late + f"{names}\n1,2\n")
        with pytest.raises(TinyError, match=rf"Line {late + 2} of .* repeats the header"):
            read(path)

    @pytest.mark.parametrize("content", ["text\nOne\ntext\n", "text,\nOne,\n,\n"])
    def test_a_row_that_is_equal_by_chance(self, tmp_path: Path, content: str) -> None:
        assert read(write(tmp_path / "a.csv", content))[0] == "One"

    @pytest.mark.parametrize("header", [None, True])
    @pytest.mark.parametrize("names", ["question,answer", "id,Instruction,input,output"])
    def test_chats_of_another_form(self, tmp_path: Path, names: str, header: bool | None) -> None:
        row = ",".join(["How are you?", "Fine."] if header else ["Say hi", "Hi"]) + ",,x" * names.count("id")
        path = write(tmp_path / "a.csv", f"{names}\n" + f"{row}\n" * 2)
        with pytest.raises(TinyError, match=r"completion.*the columns .*Write the chats so.*--text-column"):
            read(path, header=header)

    @pytest.mark.parametrize("header", [None, True, False])
    def test_text_that_comes_late_in_another_column_is_not_dropped(self, tmp_path: Path, header: bool | None) -> None:
        named = header is not False
        content = "n,tale,empty\n" * named + "".join(f"1,Tale {n},\n" for n in range(1000)) + "NA,Two,\n"
        for row in ("x7,Three,", "3,Three,x7"):
            path = write(tmp_path / "a.csv", f"{content}{row}\n")
            with pytest.raises(TinyError, match=rf"Line {1002 + named} of .*'x7'.*--text-column"):
                read(path, header=header)
            assert len(read(path, header=header, column="tale" if named else "2")) == 1002
        assert len(read(write(tmp_path / "a.csv", content), header=header)) == 1001

    @pytest.mark.parametrize(
        ("content", "column", "documents"),
        [
            ("0101,even\n", "1", ["0101"]),
            ('c1,"a\nb",x\nc2,d\n', None, ['c1,"a\nb",x', "c2,d"]),
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
        assert "no header and rows of 1 to 4 cells: each row" in how(path)

    def test_late_rows_of_any_width(self, tmp_path: Path) -> None:
        lines = [*BASKETS * 400, 'a "b,c,d,e,f,g']
        assert read(write(tmp_path / "a.csv", "\n".join(lines))) == lines

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param("\n".join(BASKETS), id="few"),
            pytest.param("\n".join(["id,text", *BASKETS * 4]), id="a usual name"),
            pytest.param("a,b\n" + "1,2\n" * 20 + "3\n", id="most fit"),
            pytest.param("\n".join(["customer,items", *BASKETS * 4]), id="names that are no items"),
            pytest.param("\n".join([*BASKETS * 4, 'tea,"jam"']), id="quotes"),
            pytest.param('"id","text"\n' + "1,doc, 1\n" * 12, id="delimiters in texts"),
            pytest.param("id,review\n" + "1,doc, 1\n" * 12, id="delimiters in texts below another name"),
            pytest.param('"text","label"\n' + '"1","doc 1",0\n' * 12, id="an index without a header"),
            pytest.param("id,text\n" + "1,doc 1,\n" * 12, id="delimiters at the end of rows"),
            pytest.param("prompt,completion\n" + "hi, you,doc\n" * 12, id="delimiters in prompts"),
            pytest.param("customer,items\n" + 'c1,"a\nb",x\n' * 12, id="cells of several lines"),
        ],
    )
    def test_others_are_refused(self, tmp_path: Path, content: str) -> None:
        with pytest.raises(TinyError, match=r"Line \d+ of .* cells?, and the header has"):
            read(write(tmp_path / "a.csv", content))

    def test_a_quote_that_is_not_doubled(self, tmp_path: Path) -> None:
        rows = "id,review\n" + '1,"doc, 1"\n' * 12 + '13,"He said "hi", ok"\n'
        with pytest.raises(TinyError, match=r"Line 14 of .*quotes"):
            read(write(tmp_path / "a.csv", rows))
