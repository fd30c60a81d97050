from reports.html.markup import Html, esc, join, table, tag


def test_text_is_escaped_once():
    assert esc("<&>") == "&lt;&amp;&gt;"
    assert esc(esc("<&>")) == "&lt;&amp;&gt;"
    assert tag("p", join(["<", Html("<br>")], ""), title='"') == '<p title="&quot;">&lt;<br></p>'


def test_columns_of_numbers_stand_right_and_have_headers():
    made = table(["name", "value", "note"], [["a", "1,234.5", "x"], ["b", "–", "1"]], "Things")
    assert '<th scope="row">a</th><td class="number">1,234.5</td><td class="short">x</td>' in made
    assert made.count('scope="col"') == 3
