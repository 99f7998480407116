"""Stop words: those so frequent in every text that they say little about what it is about.

They are the closed classes of English, to which no new member is ever added. Most published lists contain the
negations, too. For finding what a text is *about* that does no harm. For how somebody *feels* it does: "not
funny" becomes "funny".
"""

from __future__ import annotations

from collections.abc import Collection

from mmbook.preprocess.text import WORD

_ARTICLES_AND_QUANTIFIERS = """
a an the this that these those some any each every either both all such other another same own few more most
several much many enough
"""
_PRONOUNS = """
i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself
we us our ours ourselves they them their theirs themselves one oneself who whom whose which what whoever
whatever somebody someone something anybody anyone anything everybody everyone everything
"""
_PREPOSITIONS = """
about above across after against along among around as at before behind below beneath beside besides between
beyond by despite down during except for from in inside into like near of off on onto out outside over past
since through throughout till to toward towards under until up upon via with within
"""
_CONJUNCTIONS = "and but or so yet if because although though while whereas whether unless than lest"
_AUXILIARIES = """
am is are was were be been being have has had having do does did doing done will would shall should can could
may might must ought need dare used
"""
_PARTICLES_AND_ADVERBS = """
there here where when why how then now again once ever also too very just only even quite rather almost
already still perhaps maybe away back else instead however therefore thus
"""
_CONTRACTIONS = """
i'm i've i'd i'll you're you've you'd you'll he's he'd he'll she's she'd she'll it's it'd it'll we're we've
we'd we'll they're they've they'd they'll that's that'll there's here's what's who's who'd who'll where's
how's let's 's 'm 're 've 'd 'll could've should've would've
"""

_NEGATIONS = """
no not never nor none neither nobody nothing nowhere without cannot n't ain't aren't can't couldn't didn't
doesn't don't hadn't hasn't haven't isn't mightn't mustn't needn't oughtn't shan't shouldn't wasn't weren't
won't wouldn't
"""

NEGATIONS: frozenset[str] = frozenset(_NEGATIONS.split())

STOP_WORDS: frozenset[str] = NEGATIONS.union(
    *(
        group.split()
        for group in (
            _ARTICLES_AND_QUANTIFIERS,
            _PRONOUNS,
            _PREPOSITIONS,
            _CONJUNCTIONS,
            _AUXILIARIES,
            _PARTICLES_AND_ADVERBS,
            _CONTRACTIONS,
        )
    )
)


def remove_stop_words(text: str, words: Collection[str] = STOP_WORDS) -> str:
    """`text` without the given words, whatever their case; punctuation stays, runs of spaces become one.

    Args:
        text: one string.
        words: lower-case, with straight apostrophes. ``STOP_WORDS - NEGATIONS`` keeps "not" and its like.

    Raises:
        ValueError: `words` is a string, which would be read as a set of letters.
    """
    if isinstance(words, str):
        raise ValueError(f"words is the string {words!r:.40}; give a set of words, such as STOP_WORDS")
    kept = WORD.sub(lambda m: "" if m[0].lower().replace("’", "'") in words else m[0], text)
    return " ".join(kept.split())
