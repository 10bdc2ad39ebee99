"""Words of which only one is true of the same thing: units, days, months, amounts, states, and the opposites of everyday speech."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_GROUPS = (
    # Each line is a group; what stands between bars is one member, in any of its words; a star stands for any ending.
    "monday mondays montag lundi lunes | tuesday tuesdays dienstag mardi martes | wednesday wednesdays mittwoch mercredi miércoles | "
    "thursday thursdays donnerstag jeudi jueves | friday fridays freitag vendredi viernes | saturday saturdays samstag samedi sábado | "
    "sunday sundays sonntag dimanche domingo",
    "january jan januar janvier enero | february feb februar février febrero | march märz marzo | april avril abril | june juni juin junio | "
    "july juli juillet julio | august août agosto | september sept septembre septiembre | october oktober octobre octubre | november novembre noviembre | "
    "december dezember décembre diciembre",
    "spring frühling printemps primavera | summer sommer été verano | autumn herbst automne otoño | winter hiver invierno",
    "morning mornings | noon midday | afternoon afternoons | evening evenings | night nights midnight overnight",
    "breakfast | lunch | dinner supper",
    "yesterday gestern ayer | today heute aujourd'hui hoy | tomorrow demain mañana",
    "hourly | daily | weekly | monthly | quarterly | yearly annually annual",
    "dollar dollars usd $ | euro euros eur € | pound pounds gbp £ | yen jpy ¥ | franc francs chf | rupee rupees inr ₹ | kronor kroner kronen sek nok dkk | zloty pln",
    "celsius | fahrenheit",
    "all every everyone everybody entire entirely completely fully alle tous todos | most majority mostly largely meisten plupart mayoría maggior | half hälfte moitié mitad metà | some several einige | few hardly minority wenige | none",
    "always immer toujours siempre | often usually frequently | sometimes occasionally | rarely seldom",
    "only solely exclusively | also additionally",
    "first erste ersten erster premier première primera primero primer | second zweite zweiten zweiter deuxième segundo segunda secondo seconda | third dritte dritten dritter troisième tercero tercera terzo terza | "
    "fourth vierte vierten quatrième cuarto cuarta quarto quarta | fifth fünfte fünften cinquième quinto quinta | sixth | last final",
    "largest biggest highest longest tallest fastest oldest heaviest dearest | smallest lowest shortest slowest youngest lightest cheapest newest",
    "bigger larger higher longer faster older heavier stronger | smaller lower shorter slower younger lighter weaker",
    "north northern | south southern | east eastern | west western",
    "left | right",
    "red rot rouge rojo | green grün vert verde | blue blau bleu azul | yellow gelb jaune | black schwarz noir negro | white weiß blanc blanco | brown | grey gray | orange | purple | pink",
    "senior | junior | intern trainee",
    "ceo | cfo | cto | coo | chairman chairwoman chair | president | vice",
    "male men man boy boys | female women woman girl girls",
    "mother | father | brother | sister | son | daughter | uncle | aunt | husband | wife",
    "adult adults | child children kids | infant infants | elderly",
    "teacher | pupil student",
    "buyer | seller",
    "landlord lessor | tenant lessee",
    "free kostenlos gratis gratuit gratuite | paid chargeable pay pays cost costs fee fees charged kostet kosten gebühr",
    "allow allows allowed permit* permissible erlaubt gestattet autorisé* permes* consentit* | forbid forbids forbidden prohib* ban bans banned disallowed verboten untersagt interdit* vietat*",
    "optional voluntary optionally freiwillig | mandatory compulsory required requires obligatory verpflichtend obligatoire",
    "include includes included including | exclude excludes excluded excluding",
    "open opened opens opening reopen* geöffnet öffn* eröffn* ouvert* ouvr* abierto abierta abiertos abiertas abre abren abrió abrirá offen aperto aperta aperti apre aprir* apert* | "
    "closed shut closes close closing geschlossen schließ* schloss fermé* ferme* cerrado cerrada cerrados cierra* cerró cerrará chius* chiud*",
    "frei freie freien vacant libre libres | belegt belegte besetzt ausgebucht occupied occupé* ocupad*",
    "enable enables enabled | disable disables disabled",
    "accept accepts accepted approve approves approved agreed granted adopted passed passes pass zugestimmt genehmigt bewilligt angenommen approuv* adopté* accepté* aprob* aceptad* approvat* accettat* | "
    "reject rejects rejected refuse refused decline declined denied deny abgelehnt refusé* rejeté* rechaz* rifiut* bocciat*",
    "increase increases increased increasing doubled tripled surged jumped rise rises rose risen raise raised raises grow grows grew grown climbed gained growth gestiegen steig* stieg* erhöh* wuchs* gewachsen zugenommen "
    "augment* hauss* progressé subi* crec* aument* salit* cresc* | "
    "decrease decreases decreased decreasing fall falls fell fallen reduce reduced reduces halved shrunk plunged slipped drop drops dropped decline declines shrank cut lowered gesunken sink* sank* gesenkt senk* fiel fielen gefallen verringer* reduzier* abgenommen zurückgegangen "
    "baiss* diminu* recul* chut* baja* bajó cae* cayó cayeron caído disminu* descend* reduj* scend* sces* calat* ridott* | "
    "unchanged stable steady flat constant unverändert inchangé* estable* stabil*",
    "doubled doubles doubling verdoppel* | halved halves halving halbier*",
    "hire hires hired hiring recruited employed contrat* einstell* eingestellt embauch* assum* assunt* | dismiss dismissed fired sacked layoffs laid despid* despedi* entlass* licenci* licenz*",
    "buy buys bought purchase purchased acquire acquired kauft* kaufen gekauft compra* compró acheté* achèt* | sell sells sold verkauf* vend*",
    "import imports imported | export exports exported",
    "win wins won winner victory gewann* gewonnen gewinn* gagn* ganó ganaron vinto vinse | lose loses lost loser defeat defeated verlor* verlier* perdu* perdió perdieron perso persero | draw drew tied",
    "succeed succeeds succeeded success successful successfully passed | fail fails failed failure unsuccessful",
    "profit profits profitable | loss losses unprofitable",
    "start starts started begin begins began begun starting beginnt begann begonnen | end ends ended finish finished finishes stop stopped stops endet* beendet*",
    "arrive arrives arrived arrival | depart departs departed departure leaves",
    "add adds added | drops dropped remove removes removed delete deletes deleted",
    "common frequent commonest | rare uncommon",
    "severe serious | mild moderate light",
    "safe harmless | dangerous unsafe harmful hazardous",
    "positive | negative",
    "public | private",
    "internal | external",
    "temporary temporarily | permanent permanently",
    "confirmed confirms proven proved established bestätigt* confirmé* confirmad* | suspect suspects suspected unconfirmed unknown unclear disputed vermutet* soupçonn* sospech*",
    "shipped dispatched versandt verschickt expédié* enviado spedito | delivered zugestellt geliefert livré* entregad* consegnat* | pending processing processed | cancelled canceled storniert annulé* cancelad* annullat*",
    "next upcoming coming nächst* prochain* próxim* prossim* | last previous past letzt* vergangen* dernier* dernière* pasado pasada scors*",
    "keep keeps kept retain* preserv* retained behält bleibt erhalten bleiben conserv* | wipe wipes wiped erase* lose loses lost discard* dispose* throw throws thrown delete deletes deleted gelöscht verloren",
    "past | present | future",
    "alone allein seul seule | shared jointly together gemeinsam zusammen ensemble juntos",
    "inside indoors | outside outdoors",
    "above | below",
    "deprecated | removed",
    "manual manually | automatic automatically",
    "synchronous synchronously | asynchronous asynchronously",
    "online remote remotely | offline onsite",
    "indoor indoors | outdoor outdoors",
    "sunny sonnig | cloudy overcast bewölkt | rainy rain raining regen | snow snowy snowing schnee | foggy fog",
    "cold | hot",
    "warmer hotter | colder cooler",
    "wet | dry",
    "full | empty",
    "early earlier | late later",
    "legal lawful | illegal unlawful",
    "guilty convicted | innocent acquitted",
    "alive living survive survives survived recovered überlebt* survécu* sobreviv* | dead deceased died dies killed gestorben starb* verstorben mort morts morte murió murieron morto morti",
    "married | single unmarried | divorced | widowed",
    "before | after",
    "until | since",
    "minimum min least | maximum max",
    "better best improved improve improves | worse worst worsened worsen",
    "agree agrees | disagree disagrees",
    "support supports supported | oppose opposes opposed opposition",
    "encrypted | unencrypted plaintext",
    "upload uploads uploaded | download downloads downloaded",
    "upstream | downstream",
    "deposit deposits | withdraw withdraws withdrawal withdrawals",
    "credit | debit",
    "gross brutto | net netto",
    "vegan | vegetarian | meat",
    "inbound incoming | outbound outgoing",
    "domestic national | international foreign",
    "refundable | nonrefundable non-refundable",
    "valid | invalid expired",
)

_MEMBER: dict[str, tuple[tuple[int, int], ...]] = {}
_BEGINNING: dict[str, tuple[tuple[int, int], ...]] = {}
"""The same for what words begin with: `aument*`."""
for _number, _line in enumerate(_GROUPS):
    for _place, _member in enumerate(_line.split("|")):
        for _word in _member.split():
            _of = _BEGINNING if _word.endswith("*") else _MEMBER
            _of[_word.rstrip("*")] = (*_of.get(_word.rstrip("*"), ()), (_number, _place))
_LENGTHS = tuple(sorted({len(each) for each in _BEGINNING}))
PAIRS = frozenset(number for number, line in enumerate(_GROUPS) if line.count("|") == 1)
"""Groups of two: not to be the one is to be the other."""

WEEKDAYS = next(iter(_MEMBER["monday"]))[0]
OPEN = next(iter(_MEMBER["closed"]))[0]
"""Two groups of which it is known that what is not so on one day may be on another."""
ORDINALS = next(iter(_MEMBER["first"]))[0]
MONTHS = next(iter(_MEMBER["january"]))[0]
_MONTHS = tuple(word for word, of in _MEMBER.items() if any(group == MONTHS for group, _ in of))

Members = dict[int, frozenset[int]]


@lru_cache(4096)
def _of_word(word: str) -> tuple[tuple[int, int], ...]:
    """The groups of a word and its members there."""
    whole = _MEMBER.get(word)
    if whole is not None:
        return whole
    begun = (_BEGINNING.get(word[:size]) for size in _LENGTHS if size <= len(word))
    return next((each for each in begun if each), ())


def members(words: Iterable[str]) -> Members:
    """Group -> its members that are named by these words, which are without case."""
    found: dict[int, set[int]] = {}
    for word in words:
        for group, member in _of_word(word):
            found.setdefault(group, set()).add(member)
    return {group: frozenset(each) for group, each in found.items()}


def is_month(word: str) -> bool:
    """Whether a word, without case, is a month or the begin of its name."""
    return len(word) >= 3 and any(each.startswith(word) for each in _MONTHS)


def is_day(word: str) -> bool:
    """Whether a word, without case, is a weekday or a month."""
    return any(group in (WEEKDAYS, MONTHS) for group, _ in _of_word(word))


def in_group(word: str) -> bool:
    """Whether a word, without case, is of some group."""
    return bool(_of_word(word))
