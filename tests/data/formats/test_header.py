"""The header of a table, and tables without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import how, read, write

from mlx_tiny.data.documents import Tally
from mlx_tiny.errors import TinyError

BASKETS = ["milk,bread", "beer", "eggs,milk,bread,butter", "tea,jam,bread", "beer,crisps"]


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
