"""Plain prose that is new with every call: sentences put together at random from everyday words.

Texts that repeat a few sentences flatter whatever keeps what it has seen (an automaton's states, caches of words); these do not.
"""

from __future__ import annotations

from random import Random

_PEOPLE = (
    "the baker|our neighbour|a young teacher|the driver|two farmers|my aunt|the mayor|a carpenter|her brother|the nurse|some students|"
    "the librarian|an old sailor|the gardener|their cousin|the engineer|a tourist|the painter|our landlord|the postman|a reporter|"
    "the butcher|his grandmother|the tailor|a musician|the coach|three travellers|the plumber|a lawyer|the photographer|the waiter|"
    "a fisherman|the surgeon|our guide|the shopkeeper|a translator|the pilot|the choir|a miller|the inspector|the apprentice"
).split("|")
_VERBS = (
    "repaired|painted|sold|borrowed|carried|opened|described|measured|cleaned|found|ordered|finished|brought|planned|returned|"
    "counted|watched|prepared|forgot|built|explained|moved|collected|bought|wrapped|rented|tested|drew|studied|folded|labelled|"
    "replaced|polished|photographed|delivered|sorted|praised|compared|designed|sketched|unpacked|inspected|sharpened|harvested"
).split("|")
_THINGS = (
    "bicycle|kitchen table|wooden boat|letter|garden fence|blue curtain|loaf of bread|map of the valley|wool coat|piano|water pump|"
    "basket of pears|bridge|greenhouse|clock|tent|suitcase|recipe|ladder|window frame|orchard|canvas|winter tyres|lantern|stove|"
    "chair|ticket|bookshelf|violin|umbrella|cheese|path along the river|barn door|telescope|apron|notebook|kettle|carpet|wagon|"
    "stone wall|row of beans|copper pan|sledge|mirror|ribbon|globe|quilt|drawer|pair of boots|hedge|bench in the park|silver spoon"
).split("|")
_KINDS = (
    "old|new|heavy|narrow|bright|quiet|rusty|elegant|cheap|dusty|round|warm|enormous|fragile|green|distant|curious|plain|broken|"
    "striped|modern|faded|square|gentle|muddy|spare|second|handmade|splendid|empty|northern|sturdy|yellow|crooked|light|famous"
).split("|")
_PLACES = (
    "behind the station|at the market|near the lighthouse|in the village hall|on the second floor|beside the canal|in the attic|"
    "at the edge of the forest|under the bridge|in the workshop|across the square|by the lake|in the courtyard|on the hill|"
    "at the bus stop|in the cellar|next to the bakery|along the coast|outside the museum|in the harbour|on the farm|at school"
).split("|")
_TIMES = (
    "yesterday|last winter|before breakfast|on Tuesday|early in the morning|after the concert|in the autumn|during the storm|"
    "twice a week|at noon|in early June|after a long journey|for the second time|before it rained|on a cold evening|every spring|"
    "when the shops were closed|while the kettle boiled|in the afternoon|just in time|at the weekend|a month ago"
).split("|")
_REASONS = (
    "because the weather was mild|since nobody else had time|although it took longer than expected|and everybody was pleased|"
    "so that the guests could see it|but the colour was not quite right|which surprised the whole street|and nobody noticed|"
    "because the handle was loose|while the others played cards|and it still works today|although the price had gone up|"
    "which saved a good deal of money|so the work could begin on Monday|but that was only half of the story|as the map had shown|"
    "and then went home on foot|because the ferry was late|though the rooms are rather small|and wrote it all down"
).split("|")
_FORMS = (
    "{Time} {person} {verb} the {kind} {thing} {place}, {reason}.",
    "{Person} {verb} a {kind} {thing} {place} {time}.",
    "{Person} and {person} {verb} the {thing}, {reason}.",
    "The {kind} {thing} {place} is more {kind} than the {thing} that {person} {verb} {time}.",
    "What {person} {verb} {place} was a {kind} {thing}, {reason}.",
    "There is a {kind} {thing} {place}; {person} {verb} it {time}.",
    "{Time} it took {number} hours until {person} {verb} the {thing} {place}.",
    "Of {number} things that {person} {verb}, the {kind} {thing} was the best, {reason}.",
)
_WORDS = {
    "person": _PEOPLE,
    "verb": _VERBS,
    "thing": _THINGS,
    "kind": _KINDS,
    "place": _PLACES,
    "time": _TIMES,
    "reason": _REASONS,
}


class _Words(dict[str, str]):
    """A word of a form's field, another one each time; with a capital for a field that has one."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def __getitem__(self, field: str) -> str:
        if field == "number":
            return str(self._random.randrange(2, 60))
        word = self._random.choice(_WORDS[field.lower()])
        return word if field.islower() else word[0].upper() + word[1:]


class Prose:
    """An endless text. Equal seeds give equal texts."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._words = _Words(self._random)

    def sentence(self) -> str:
        """One sentence, about 80 characters."""
        return self._random.choice(_FORMS).format_map(self._words)

    def thing(self) -> str:
        """A kind of thing, for a heading or a list."""
        return f"{self._words['kind']} {self._words['thing']}"

    def text(self, chars: int) -> str:
        """Sentences of that many characters together, or a little more."""
        pieces: list[str] = []
        length = 0
        while length < chars:
            pieces.append(self.sentence())
            length += len(pieces[-1]) + 1
        return " ".join(pieces)
