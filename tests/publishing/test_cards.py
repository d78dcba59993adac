from metabench.publishing.boards.cards import card
from metabench.publishing.pages.prose import prose


def test_card_of_a_meta_model():
    c = card("portfolio")
    assert c.kind == c.label == "transfer" and c.group == "metamodels" and c.twin == "random"
    assert c.summary.startswith("Greedy zero-shot portfolio") and "\n" not in c.summary
    assert ("size", 100) in c.settings
    assert any("Wistuba" in p for p in c.paragraphs)


def test_card_of_a_baseline_and_of_a_submission():
    assert card("random").kind == "baseline"
    c = card("somebody_elses")
    assert (c.kind, c.summary, c.module, c.settings) == ("submission", "", "", ())


def test_prose_escapes_marks_code_and_links_references():
    assert prose("a <b> ``x < y`` :class:`metabench.Space`") == (
        "a &lt;b&gt; <code>x &lt; y</code> <code>metabench.Space</code>"
    )
    assert prose("see arXiv:2007.13382, 2020") == (
        'see <a href="https://arxiv.org/abs/2007.13382">arXiv:2007.13382</a>, 2020'
    )
    assert prose("doi:10.1145/3292500.3330701.") == (
        '<a href="https://doi.org/10.1145/3292500.3330701">doi:10.1145/3292500.3330701</a>.'
    )


def test_the_type_says_who_learns_and_whose_package_it_is():
    assert card("synetune_zeroshot").label == "transfer, Syne Tune"  # it learns from other tasks, though it is a peer's
    assert card("tpe").label == "baseline, Optuna"
    assert card("gp").label == "baseline"
