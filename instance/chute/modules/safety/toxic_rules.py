"""Harmful content by category: rules over words and their neighbourhood, with weights, in several languages.

A rule is RE2 over text in its plain form (lower case, signs read as the letters they stand for). Weight 1 would be certain; a
word that is often harmless weighs little by itself. Rules of one category add up as independent evidence.
"""

from __future__ import annotations

from typing import NamedTuple

CATEGORIES = ("harassment", "hate", "violence", "self_harm", "sexual", "sexual/minors", "illicit", "profanity")

_YOU = r"(?:you|u|ur|your|yourself|ya|thou|he|she|they|them|him|her|those people|these people)"
_GROUP = (
    r"(?:jews?|muslims?|christians?|hindus?|sikhs?|blacks?|whites?|asians?|mexicans?|immigrants?|refugees?|migrants?|arabs?|africans?|indians?|chinese|"
    r"gays?|lesbians?|homosexuals?|trans(?:gender)?(?: people)?|women|men|disabled people|foreigners|roma|gypsies|catholics|minorities|that (?:race|religion)|"
    r"(?:black|white|brown|jewish|muslim|gay|trans|disabled) (?:people|men|women|kids|folks))"
)
_BEAST = r"(?:vermin|rats?|cockroach(?:es)?|animals?|parasites?|subhumans?|sub-humans?|scum|filth|disease|plague|pigs?|dogs|apes|monkeys|savages|trash|garbage|cancer|inferior|degenerates?|criminals|terrorists)"
_KILL = r"(?:kill|murder|stab|shoot|strangle|behead|slaughter|butcher|torture|beat|punch|hurt|burn|hang|lynch|gut|choke|poison|attack|assault|maim|bomb|rape|execute)"
_INSULT = r"(?:idiot|moron|imbecile|loser|stupid|dumb|dumbass|worthless|pathetic|(?:disgusting|filthy|dirty) animal|ugly|disgusting|retard(?:ed)?|cretin|scum|trash|garbage|useless|failure|fool|dimwit|brainless|clown|pig|coward|waste of (?:space|oxygen|air)|piece of (?:shit|crap|trash|garbage)|freak|fat|repulsive|bitch|asshole|bastard|whore|slut|cunt|dickhead|jerk|creep|psycho)"
_MINOR = r"(?:child(?:ren)?|kids?|minors?|underage|pre-?teens?|toddlers?|infants?|bab(?:y|ies)|little (?:girl|boy)s?|school ?(?:girl|boy)s?|(?:1[0-7]|[1-9]|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen)[- ]?(?:years?[- ]?old|yo|y/o)|lolis?|shotas?|teenage(?:r|d)?s?|young (?:girl|boy)s?|daughter|son|pupils?)"
_SEX = r"(?:sexy|nudes|hentai|sext\w*|lust\w*|porn(?:ography|ographic)?|erotic(?:a)?|orgasm|masturbat\w*|seduc\w*|horny|blow ?job|fetish|lingerie|fondl\w*|molest\w*|lewd|incest|grope)"
_BODY = r"(?:sex(?:ual(?:ly|i[sz]ed?|i[sz]e|ising|izing)?)?|nude|naked|explicit|arous\w*|genitals?|penis|vagina|breasts|nipples|intercourse|undress\w*)"
_HOW = r"(?:how (?:to|do|can|could|would|should)|ways? (?:to|of)|steps? (?:to|for)|instructions? (?:to|for|on)|guide (?:to|for|on)|recipe for|teach me|show me|tell me|explain|help me|want to|need to|trying to|write|create|give me|best way|let's|i(?:'ll| will)|can you|first|mix|build|make|synthesi[sz]e|cook)"


class ToxicRule(NamedTuple):
    category: str
    weight: float
    expression: str


def _near(one: str, other: str, words: int) -> str:
    """Either before the other, with so many words between them at most."""
    gap = rf"(?:\W+[\w']+){{0,{words}}}\W+"
    return rf"\b(?:{one}{gap}{other}|{other}{gap}{one})\b"


ENGLISH: tuple[ToxicRule, ...] = (
    ToxicRule("harassment", 0.75, rf"\b(?:you|u|ur|you're|youre)(?:\W+(?:are|re|r|is|'re|such|a|an|the|so|just|really|nothing|people|guys|all|but|absolute(?:ly)?|complete(?:ly)?|total(?:ly)?|most|all|fucking|bloody|damn|little|stupid|dumb|ugly|fat|lazy|worthless|pathetic|disgusting)){{0,6}}\W+{_INSULT}s?\b"),
    ToxicRule("harassment", 0.75, r"\b(?:nobody|no one|everyone|everybody|the world|we all)(?:\W+\w+){0,3}\W+(?:likes?|loves?|wants?|hates?|better off without|would miss|laughs? at|despises?) (?:you|him|her|them)\b"),
    ToxicRule("harassment", 0.8, r"\b(?:shut (?:the \w+ )?up|go to hell|drop dead|screw you|fuck (?:you|off|urself|yourself)|eat shit|get lost)(?:,? (?:you )?(?:\w+ )?(?:idiot|moron|loser|bitch|asshole|stupid|pig|freak))\b"),
    ToxicRule("harassment", 0.75, r"\b(?:fuck (?:you|off)|shut (?:your|ur) (?:\w+ )?(?:mouth|face|trap)|bunch of (?:retards|morons|idiots|imbeciles|losers|assholes)|go fuck yourself|kiss my ass|screw you|go to hell|drop dead|eat shit and die|piss off)\b"),
    ToxicRule("harassment", 0.7, r"\b(?:such an?|what an?|that|this|stupid|fucking|bloody|total|complete|absolute|dumb|ugly|little) (?:\w+ )?(?:moron|imbecile|retard|cretin|scumbag|dumbass|dickhead|asshole|bitch|whore|slut|cunt)s?\b"),
    ToxicRule("harassment", 0.7, r"\b(?:write|compose|create|help me|post|send|spread|draft)(?:\W+[\w']+){0,10}\W+(?:humiliat\w*|bull(?:y|ies|ying)|harass\w*|degrad\w*|insult\w*|embarrass|intimidat\w*|dox\w*|mock|mean|cruel|hurtful|nasty)(?:\W+[\w']+){0,6}\W+(?:her|him|them|my|a|this|that|classmate|coworker|colleague|neighbou?r|ex|girl|boy|teacher|message)\b"),
    ToxicRule("harassment", 0.75, r"\b(?:you|he|she|they)(?:'re| are| is|'s)(?: by far)? the (?:\w+ )?(?:dumb|stupid|ugl(?:i)?|fatt?|lazi|weak|mean|sick|slow|creepi|worst|filthi|dull)(?:est)? (?:person|people|man|woman|one|human|boy|girl|kid|thing|excuse|player|employee|student)s?\b|\b(?:most|more) (?:pathetic|worthless|useless|stupid|disgusting|incompetent) (?:person|human|man|woman|thing)\b"),
    ToxicRule("harassment", 0.75, r"\b(?:nobody|no one|none of us|everyone|everybody)(?:\W+[\w']+){0,6}\W+(?:can(?:'t)? (?:stand|bear)|is sick of|wants to see|wishes|would miss|is ashamed of|is laughing at) (?:you|him|her|them|your)\b|\b(?:ashamed of|for|to have|having) (?:\w+ ){0,3}(?:such a |a )(?:failure|disappointment|loser|disgrace)\b|\b(?:you(?:'re| are)|what|such) an? (?:\w+ ){0,2}(?:disgrace|embarrassment|disappointment|nobody|joke of a|waste of)\b"),
    ToxicRule("hate", 0.8, rf"\b{_GROUP}(?:\W+[\w']+){{0,2}}\W+(?:control|run|own|rule|ruin|destroy|infest|invade|poison|steal|pollute|corrupt|outbreed|replace)(?:ing|s|ed)?\W+(?:\w+\W+){{0,3}}(?:banks?|media|world|everything|countr(?:y|ies)|nations?|jobs|society|culture|us|our|governments?|cities|race)\b"),
    ToxicRule("hate", 0.75, rf"\b(?:can(?:'t|not) stand|loathe|sick of|disgusted by|can(?:'t|not) trust|never trust|get rid of|send back|keep out)(?: (?:all|the|every|those|these|of|any))* {_GROUP}\b|\b{_GROUP}(?:\W+[\w']+){{0,5}}\W+(?:don'?t|do not|never) (?:deserve|belong)|\b{_GROUP}(?:\W+[\w']+){{0,3}}\W+(?:go|sent) back to (?:where|their|your)|\bgo back to (?:your (?:own )?|where (?:you|they) came from)(?:country|continent|jungle)?|\b{_GROUP}(?:\W+(?:are|is|all|just|only|nothing|but|a|an)){{1,4}}\W+(?:thieves|burden|liars|criminals|freaks|curse|problem of)\b"),
    ToxicRule("hate", 0.85, rf"\b{_GROUP}(?:\W+[\w']+){{0,3}}\W+(?:should|must|may)(?:\W+(?:not|never|n't))+\W+(?:be allowed|have (?:children|kids|rights)|breed|procreate|reproduce|live|marry|work|teach|exist|vote)\b"),
    ToxicRule("hate", 0.85, rf"\b{_GROUP}(?:\W+(?:are|is|all|were|as|like|just|nothing|but|a|an|the|these|those|dirty|filthy|disgusting|should|be|treated|basically|of|mere|and)){{1,7}}\W+{_BEAST}\b"),
    ToxicRule("hate", 0.8, rf"\b(?:dirty|filthy|disgusting|stinking|greedy|lazy|fucking|damn|goddamn) {_GROUP}\b"),
    ToxicRule("hate", 0.9, rf"\b(?:(?:i |we )?(?:hate|despise|detest|exterminate|eradicate|gas|deport|get rid of|cleanse|purge|kill|wipe out|ban|eliminate)(?: (?:all|the|every|those|these|of|out))* {_GROUP}|(?:death to|no) (?:all |the )?{_GROUP} (?:allowed|in our)|death to (?:all |the )?{_GROUP})\b"),
    ToxicRule("hate", 0.85, rf"\b{_GROUP}(?:\W+[\w']+){{0,3}}\W+(?:should|must|deserve to|need to|ought to|have to)(?:\W+(?:all|be|not|never|just))*\W+(?:die|exterminated|gassed|killed|deported|eradicated|exist|vote|burn|enslaved|hanged|banned|segregated|sterili[sz]ed|shot|suffer|removed|allowed)\b"),
    ToxicRule("hate", 0.9, r"\b(?:white power|heil hitler|sieg heil|gas the|race war|white (?:supremacy|genocide)(?: (?:now|is right|rules))|1488 (?:heil|hh|forever|brothers?)|master race|ethnic(?:ally)? cleans\w+ (?:the|all|our|is))\b"),
    ToxicRule("hate", 0.9, r"\b(?:n+i+g+g+(?:e+r+|a+)s?|f+a+g+(?:g+o+t+)?s?|k+i+k+e+s|s+p+i+c+s|ch+i+n+k+s|towel ?heads?|sand ?n\w+ers?|wetbacks?|tr+a+n+n+(?:y|ies)|gooks|pakis|raghead?s)\b"),
    ToxicRule("hate", 0.7, rf"\b{_GROUP}(?:\W+(?:are|is|all|just|naturally|genetically|clearly|simply)){{1,4}}\W+(?:\w+\W+)?(?:inferior|stupid|dumb|less intelligent|lazy|violent|dirty|evil|greedy|mentally ill|weak|dangerous|thieves|liars|disgusting|an abomination)\b"),
    ToxicRule("violence", 0.85, rf"\b(?:i(?:'m| am)?|we(?:'re)?|gonna|i'll|ill|we'll)(?:\W+(?:am|will|going to|gonna|want to|wanna|plan to|swear|would love to|to|shall|about to|really|just|so|need to)){{1,4}}\W+(?:\w+ )?{_KILL}(?:\W+(?:all|the|of|every|everyone in))*\W+(?:you|him|her|them|u|everyone|everybody|people|my (?:\w+ )?(?:wife|husband|boss|neighbou?r|teacher|classmates?|family|parents|girlfriend|boyfriend|ex|brother|sister|mother|father|coworkers?)|this (?:guy|man|woman)|that (?:guy|man|woman|bitch|bastard)|someone|somebody|students?|kids?|cops?|police|the (?:president|mayor|senator))\b"),
    ToxicRule("violence", 0.85, rf"\b{_HOW}(?:\W+[\w']+){{0,4}}\W+(?:kill|murder|stab|strangle|torture|poison|behead|rape|assassinate|kidnap|attack|hurt|beat up|shoot up|bomb|blow up|mutilate|dismember)(?:\W+[\w']+){{0,3}}\W+(?:someone|somebody|people|person|man|woman|my (?:\w+ )?(?:wife|husband|boss|neighbou?r|teacher|classmates?|family|parents|girlfriend|boyfriend|ex|brother|sister|mother|father|coworker|roommate)|him|her|them|crowd|school|church|mosque|synagogue|victim|human|president|politician|student|cop|building|hospital|stadium)s?\b"),
    ToxicRule("violence", 0.8, rf"\b(?:you|he|she|they|{_GROUP})(?:\W+[\w']+){{0,3}}\W+(?:deserves?|should|must|needs?)(?:\W+(?:to|be|all|just|slowly|get))*\W+(?:die|killed|shot|beaten|stabbed|tortured|hanged|burn(?:ed)?|beheaded|raped|murdered|suffer)\b"),
    ToxicRule("violence", 0.8, r"\b(?:watch your back|you(?:'re| are) (?:dead|a dead man)|i know where you live|i(?:'ll| will) (?:find|come for|end|destroy|break) (?:you|your (?:legs|neck|bones|face))|put a bullet in|slit (?:your|his|her|their) throat|bash (?:your|his|her|their) (?:head|skull)|make (?:you|him|her|them) (?:bleed|suffer|scream))\b"),
    ToxicRule("violence", 0.75, r"\b(?:shoot up|blow up|bomb|attack|massacre|mass shooting (?:at|in))(?:\W+[\w']+){0,3}\W+(?:my|the|a|our|this|that|at) (?:\w+ )?(?:school|church|mosque|synagogue|office|mall|concert|hospital|airport|subway|workplace|campus)\b"),
    ToxicRule("violence", 0.8, rf"\b(?:i|we)(?:'ll| will| shall|'m (?:gonna|going to)| am going to)(?:\W+\w+){{0,2}}\W+(?:{_KILL}|cut|smash|crush|break|bury|skin|gut)\W+(?:you|u|him|her|them|your|his|their|everyone)\b|\bif (?:you|he|she|they)(?:\W+[\w']+){{0,8}}\W+i(?:'ll| will) (?:\w+ ){{0,2}}{_KILL}\b|\b(?:burn|torch|blow up|set fire to)(?: down)? (?:your|his|her|their) (?:\w+ )?(?:house|home|car|shop|school|place)s?\b"),
    ToxicRule("violence", 0.5, r"\b(?:gore|dismember\w*|disembowel\w*|decapitat\w*|mutilat\w*|entrails|blood (?:everywhere|sprayed|gush\w*)|brains? (?:splatter\w*|spilled))\b"),
    ToxicRule("self_harm", 0.9, r"\b(?:kill(?:ing)? myself|end(?:ing)? (?:my|it) (?:own )?(?:life|all)|tak(?:e|ing) my (?:own )?life|commit(?:ting)? suicide|want(?:ed)? to die|wanna die|wish i (?:was|were) dead|suicidal|cut(?:ting)? myself|hurt(?:ing)? myself|harm(?:ing)? myself|self[- ]harm(?:ing)?|better off dead|don'?t want to (?:live|be alive|exist|wake up)|no reason to (?:live|go on)|can'?t go on (?:anymore|any longer|living)|starv(?:e|ing) myself|overdos(?:e|ing) on|(?:not|never) wak(?:e|ing) up again)\b"),
    ToxicRule("self_harm", 0.9, r"\b(?:kill yourself|kys|kill urself|end your(?:self| life)|go die|hang yourself|cut yourself|slit your (?:own )?wrists|you should (?:just )?die|do the world a favou?r and)\b"),
    ToxicRule("self_harm", 0.75, r"\b(?:(?:can'?t|cannot) (?:take|bear|stand|do) (?:it|this|life)(?: \w+){0,2}(?: any ?(?:more|longer))?(?:\W+\w+){0,6}\W+(?:end|die|over|stop)|(?:no|any) (?:reason|point)(?: \w+){0,3} (?:to|in|for)(?: me to)? (?:liv|go(?:ing)? on|continu|exist)\w*|(?:decided|going|plan(?:ning)?|want) to (?:jump (?:off|from|in front)|hang myself|end it|end my|disappear forever)|never wake up(?: again)?|(?:if|once) i (?:were|was|am) (?:dead|gone)|killing yourself|hid(?:e|ing) (?:the |your |my )?(?:cuts|scars)|starv(?:e|ing) (?:myself|yourself)|(?:burn|cut|scratch|hurt|hit)(?:ing)? (?:myself|my (?:arms?|legs?|wrists?|skin|thighs?)))\b"),
    ToxicRule("self_harm", 0.85, rf"\b{_HOW}(?:\W+[\w']+){{0,6}}\W+(?:suicide|self[- ]harm|hang (?:myself|oneself)|die (?:painlessly|without pain|quickly|peacefully)|painless (?:way|death)|lethal dose|overdose|cut without|stop eating|purge|tie a noose)\b"),
    ToxicRule("self_harm", 0.5, r"\b(?:suicide|noose|painless death|life is not worth|feel(?:ing)? (?:so )?(?:hopeless|worthless|empty)|nobody would (?:miss|notice|care)|goodbye (?:letter|note)|tired of (?:living|life|being alive)|everyone would be better (?:off )?without me)\b"),
    ToxicRule("sexual", 0.75, r"\b(?:blow ?jobs?|hand ?jobs?|cum(?:ming|shot)?|deepthroat\w*|gang ?bang\w*|hentai|milf|bdsm|anal sex|oral sex|threesome|orgy|horny|dildos?|creampie|cunnilingus|fellatio|jerk(?:ing)? off|masturbat\w*|boobs|porn(?:o|hub)?)\b"),
    ToxicRule("sexual", 0.8, r"\b(?:write|describe|tell|generate|create|roleplay|role-play|continue|give|show|send|imagine|draw)(?:\W+[\w']+){0,8}\W+(?:erotic(?:a)?|sex(?:ual|y|ually)?|nude|nudes|naked|porn\w*|explicit (?:scene|story|content|photo)|smut|fetish|steamy|nsfw|dirty talk|kinky)\b"),
    ToxicRule("sexual", 0.45, r"\b(?:pussy|cock|tits|make love|making love|dirty words|touch(?:ing)? (?:me|you|myself|my body|your body)|turn(?:s|ed)? me on|in bed with|undress(?:ed|ing)?|moan(?:s|ed|ing)?|thighs|lingerie|seduc\w+|lust\w*)\b"),
    ToxicRule("sexual", 0.7, r"\b(?:naked|nude|bare) (?:body|bodies|breasts|skin|flesh)(?:\W+\w+){0,8}\W+(?:thrust\w*|moan\w*|caress\w*|lick\w*|kiss\w*|press\w*|straddl\w*|grind\w*|bed)\b|\b(?:thrust\w*|moan(?:ed|ing)|straddl\w*|lick(?:ed|ing)|suck(?:ed|ing))(?:\W+\w+){0,8}\W+(?:inside (?:her|him|me)|her (?:thighs|breasts|nipples)|his (?:cock|shaft|member)|deeper|naked|orgasm|climax)\b"),
    ToxicRule("sexual", 0.7, r"\b(?:have|having|had|want) (?:rough |hot |wild |kinky )?sex with (?:me|you|her|him|my)\b|\b(?:fuck|bang|screw) (?:me|her|him) (?:hard|now|senseless)|\b(?:suck|lick|ride) (?:my|his|her|your) (?:dick|cock|pussy|tits|ass|balls)\b"),
    ToxicRule("sexual/minors", 0.95, _near(_MINOR, _SEX, 8)),
    ToxicRule("sexual/minors", 0.78, _near(_MINOR, _BODY, 8)),
    ToxicRule("sexual/minors", 0.95, r"\b(?:child porn\w*|csam|kiddie porn|pedo(?:phil\w+)? (?:pics?|porn|content|stories)|jailbait|lolicon|shotacon|groom(?:ing)? (?:a |an |my )?(?:child|kid|minor|girl|boy|teen)\w*)\b"),
    ToxicRule("illicit", 0.85, rf"\b{_HOW}(?:\W+[\w']+){{0,8}}\W+(?:pipe ?bombs?|(?:home ?made |car |nail |fertili[sz]er |dirty )?bombs?|(?:\w+ )?explosives?|molotov(?: cocktails?)?|napalm|tatp|anfo|meth(?:amphetamines?)?|crystal meth|heroin|cocaine|crack cocaine|fentanyl|lsd|mdma|ecstasy|ricin|sarin|nerve (?:gas|agents?)|chemical weapons?|bioweapons?|biological weapons?|anthrax|ghost guns?|silencers?|counterfeit (?:money|bills|currency)|fake (?:ids?|passports?)|ransomware|malware|keyloggers?|botnets?|computer virus(?:es)?|phishing (?:emails?|sites?|pages?|kits?))\b"),
    ToxicRule("illicit", 0.85, rf"\b{_HOW}(?:\W+[\w']+){{0,5}}\W+(?:launder (?:the |my |some |illegal )?money|money laundering|steal (?:a |an |someone'?s |the |my neighbou?r'?s |people'?s )?(?:\w+ )?(?:cars?|identit(?:y|ies)|credit cards?|bike|passwords?|data|money|wallet|packages?)|shoplift\w*|rob (?:a |the )?(?:bank|store|house)|break into (?:a |the |my |someone'?s )?(?:\w+ )?(?:house|car|home|apartment|account|network|building|safe|phone|computer|email)|hack (?:into )?(?:a |the |my |someone'?s )?(?:[\w']+ )?(?:account|wifi|network|bank|phone|email|instagram|facebook|computer|server|website|webcam)|evade taxes|tax evasion|forge (?:a |the )?(?:\w+ )?(?:signature|check|cheque|prescription|document)s?|blackmail|smuggle|traffic (?:drugs|people|humans|weapons)|hotwire|pick (?:a |the )lock|stalk|spy on|scam (?:old|elderly|people)|bribe|dispose of a (?:dead )?body|hide a (?:dead )?body|buy (?:illegal )?(?:drugs|guns|weapons) (?:online|illegally|without|on the dark)|cheat (?:a |the )drug test|bypass (?:a |the )?(?:drm|paywall|ignition)|clone (?:a )?credit cards?|commit (?:\w+ )?fraud)\b"),
    ToxicRule("illicit", 0.75, r"\b(?:buy|get|sell|order|purchase|find|download)(?:\W+[\w']+){0,4}\W+(?:stolen|hacked|leaked|counterfeit|forged|fake|illegal|cracked)(?:\W+\w+){0,2}\W+(?:cards?|card numbers?|accounts?|passports?|ids?|documents?|licen[cs]es?|prescriptions?|guns?|money|notes|goods|data)\b|\b(?:untraceable|undetectable|without (?:\w+ )?serial numbers?|fully? automatic)(?:\W+[\w']+){0,5}\W+(?:gun|weapon|rifle|pistol|poison|malware|print\w*)|\b(?:gun|rifle|pistol|weapon)(?:\W+[\w']+){0,4}\W+(?:untraceable|undetectable|fully? automatic|without (?:a )?serial)\b"),
    ToxicRule("illicit", 0.75, r"\b(?:write|create|make|give|compose|draft|help)(?:\W+[\w']+){0,8}\W+(?:trick|trap|fool|con|scam|deceive|swindle|lure|manipulate)(?:s|ing)?(?:\W+[\w']+){0,6}\W+(?:pin|passwords?|money|savings|bank|card|account|credentials|data|codes?)\b|\b(?:pick|crack|open|break|bypass|disable)(?:ing)?(?:\W+[\w']+){0,3}\W+(?:lock|alarm|safe|camera|tracker|immobili[sz]er)s?(?:\W+[\w']+){0,4}\W+(?:neighbou?r\w*|someone|somebody|ex|boss|stolen|without|while they)\b"),
    ToxicRule("illicit", 0.6, r"\b(?:stolen credit card|carding|dark ?web (?:market|vendor)|untraceable (?:gun|weapon|poison)|without getting caught|undetect(?:ed|able) (?:by|poison|malware)|avoid (?:detection|the police)|hire a (?:hitman|killer)|date rape drug)\b"),
    ToxicRule("profanity", 0.75, r"\b(?:f+u+c+k+(?:e+d|e+r+s?|i+n+g?|s|head|wit|face)?|m[ou]therf\w+|f[^\sa-z']ck(?:ing|ed|er)?|sh[i1*]t+(?:s|ty|head|hole|face)?|bullshit|horseshit|ass ?holes?|arseholes?|bitch(?:es|y|ing)?|b[^\sa-z']tch(?:es)?|cunts?|c[^\sa-z']nts?|dick ?heads?|(?:you|that|this|such a|what a|poor|lucky|fucking|old|little|cheeky) bastard|bastards|wank(?:er|ers|ing)?|twats?|bollocks|goddamn(?:ed|it)?|pissed off|piss off|jack ?ass|douche ?bags?|sons? of (?:a )?bitch(?:es)?|cock ?sucker|fck(?:ing)?|wtf|stfu)\b"),
    ToxicRule("profanity", 0.75, r"\b(?:such an?|what an?|total|real|you|being an?|(?:he|she|you|they)(?:'s|'re| is| are) an?|little|stupid|fucking) (?:dick|cock|prick|tit|arse|ass|turd|pussy|pussie)s?(?:[.,!?]|\s*$)|\b(?:ass|arse|shit|dick|cock)(?:es|s|face|wipe|bag)\b"),
    ToxicRule("profanity", 0.4, r"\b(?:damn(?:it)?|crap|bloody hell|bugger|hell no|screw this|(?:it|this|that|life|school|work|everything|really|just) sucks)\b|\bdamned (?:thing|idiot|fool|liar|printer|phone|computer)\b"),
)  # fmt: skip

OTHER: dict[str, tuple[ToxicRule, ...]] = {
    "de": (
        ToxicRule("harassment", 0.8, r"\b(?:du|ihr|sie|dein|dich)(?:\W+\w+){0,4}\W+(?:idiot|depp|trottel|arschloch|wichser|hurensohn|missgeburt|schlampe|fotze|penner|versager|dummkopf|abschaum|spast)\w*|\bhalt(?:'s| die) (?:maul|fresse)|\bverpiss dich|\bfick dich"),
        ToxicRule("hate", 0.85, r"\b(?:juden|muslime|auslander|fluchtlinge|schwule|turken|schwarze|migranten|zigeuner|behinderte|araber|polen|asylanten)(?:\W+\w+){0,6}\W+(?:kriminell\w*|verbrecher|diebe|vertrieben|vertreiben|minderwertig|dumm|faul|weg|plage|krank|ungeziefer|ratten|abschaum|parasiten|untermenschen|vergasen|vergast|abschieben|raus|dreck|tiere)\b|\bauslander raus\b|\bsieg heil\b|\bheil hitler\b"),
        ToxicRule("violence", 0.85, r"\b(?:ich|wir)(?:\W+\w+){0,2}\W+(?:bringe?n?|mache?n?|steche?n?|schlage?n?|werde?n?)(?:\W+\w+){0,3}\W+(?:dich|ihn|sie|euch|alle|meine?n?)(?:\W+\w+){0,3}\W+(?:um|umbringen|toten|kalt|ab|tot|erschiessen|abstechen|verprugeln|zusammen)\b|\bwie (?:kann|konnte|toete|tote) (?:ich|man)?(?:\W+\w+){0,4}\W+(?:umbringen|toten|vergiften|ermorden)\b"),
        ToxicRule("self_harm", 0.9, r"\b(?:mich (?:umbringen|toten|ritzen|verletzen)|bring(?:e)? mich um|will (?:nicht mehr leben|sterben)|selbstmord|suizid\w*|mir das leben nehmen|nicht mehr (?:leben|aufwachen))\b"),
        ToxicRule("illicit", 0.85, r"\bwie (?:kann|baue?|stelle?|mache?|koche?)(?:\W+\w+){0,6}\W+(?:bombe|rohrbombe|sprengstoff|crystal meth|meth|heroin|falschgeld|molotow\w*|giftgas|drogen)\b"),
        ToxicRule("sexual/minors", 0.95, r"\b(?:kinderporn\w*|(?:kind(?:er)?|minderjahrig\w*|madchen|schulmadchen)(?:\W+\w+){0,6}\W+(?:nackt\w*|sexuell\w*|porn\w*|erotisch\w*))\b"),
        ToxicRule("sexual", 0.7, r"\b(?:schreib|erzahl|beschreib)\w*(?:\W+\w+){0,6}\W+(?:sexszene|erotische?\w*|pornograf\w*|sexgeschichte)\b|\b(?:ficken|blasen lassen|muschi|titten)\b"),
        ToxicRule("profanity", 0.75, r"\b(?:scheiss\w*|scheisse|arschloch\w*|arsch|(?:ge)?fickt?(?:en?|er|st|dich|t)?|verdammte?\w*|hurensohn\w*|wichser\w*|fotze\w*|kacke)\b"),
    ),
    "es": (
        ToxicRule("harassment", 0.8, r"\b(?:eres|sois|es|maldit[oa]|pedazo de)(?:\W+\w+){0,3}\W+(?:idiota|imbecil|estupid[oa]|inutil|gilipollas|cabron|basura|puta|mierda|pendej[oa]|asqueros[oa])s?\b|\b(?:vete a la mierda|hijo de puta|callate la boca|que te jodan|chinga tu madre)\b"),
        ToxicRule("hate", 0.85, r"\b(?:judios|musulmanes|inmigrantes|negros|gays|gitanos|moros|indios)(?:\W+\w+){0,4}\W+(?:ladrones|delincuentes|criminales|inferiores|enfermos|sobran|ratas|basura|escoria|parasitos|animales|morir|exterminar|plaga|fuera)\b"),
        ToxicRule("violence", 0.85, r"\b(?:te|lo|la|los|le) (?:voy|vamos) a (?:matar|golpear|apunalar|romper|degollar|reventar|partir|quemar|machacar)\b|\bvoy a (?:matar|apunalar|golpear) a\b|\bcomo (?:matar|asesinar|envenenar|torturar) a\b"),
        ToxicRule("self_harm", 0.9, r"\b(?:quiero (?:morir|morirme|matarme|suicidarme)|suicid\w+|quitarme la vida|cortarme las venas|no quiero (?:vivir|seguir viviendo)|hacerme dano)\b"),
        ToxicRule("illicit", 0.85, r"\b(?:como|ensename a|quiero) (?:\w+ )?(?:hacer|fabricar|construir|cocinar|robar|hackear|lavar)(?:\W+\w+){0,5}\W+(?:bomba|explosivos?|metanfetamina|cocaina|dinero|cuenta|banco|coche|identidad|drogas)\b"),
        ToxicRule("sexual/minors", 0.95, r"\b(?:porn\w* infantil|(?:nin[oa]s?|menor(?:es)?)(?:\W+\w+){0,6}\W+(?:desnud\w*|sexual\w*|porn\w*|erotic\w*))\b"),
        ToxicRule("profanity", 0.75, r"\b(?:mierda|joder|puta|puto|cono|cabron(?:es)?|gilipollas|hostia|carajo|pendejo|chingad[oa])s?\b"),
    ),
    "fr": (
        ToxicRule("harassment", 0.8, r"\b(?:tu es|t'es|vous etes|espece d[e'])(?:\W+\w+){0,4}\W*(?:idiote?|imbecile|connard|connasse|salope|merde|debile|cretin|ordure|abruti|minable|encule)\b|\b(?:ferme ta gueule|va te faire (?:foutre|enculer)|ta gueule|fils de pute|nique ta mere)\b"),
        ToxicRule("hate", 0.85, r"\b(?:juifs|musulmans|arabes|noirs|immigres|migrants|homosexuels|gays|roms)(?:\W+\w+){0,4}\W+(?:voleurs|criminels|inferieurs|malades|paresseux|rats|vermine|ordures|parasites|animaux|mourir|exterminer|racaille|dehors)\b"),
        ToxicRule("violence", 0.85, r"\bje (?:vais|veux) (?:te|le|la|les|vous) (?:tuer|frapper|egorger|poignarder|buter|crever|casser|demolir|defoncer|peter|massacrer|cramer)\b|\bcomment (?:tuer|empoisonner|assassiner|torturer) (?:quelqu'un|mon|ma|mes|une?)\b"),
        ToxicRule("self_harm", 0.9, r"\b(?:me (?:suicider|tuer|couper les veines|faire du mal)|envie de mourir|veux mourir|suicid\w+|mettre fin a mes jours|plus envie de vivre)\b"),
        ToxicRule("illicit", 0.85, r"\bcomment (?:fabriquer|faire|construire|cuisiner|voler|pirater|blanchir)(?:\W+\w+){0,5}\W+(?:bombe|explosifs?|methamphetamine|cocaine|argent|compte|voiture|drogue|faux billets)\b"),
        ToxicRule("sexual/minors", 0.95, r"\b(?:pedoporn\w*|(?:enfants?|mineure?s?|fillettes?)(?:\W+\w+){0,6}\W+(?:nu(?:e|s|es)?|sexuel\w*|porn\w*|erotique\w*))\b"),
        ToxicRule("profanity", 0.75, r"\b(?:merde|putain|connards?|salopes?|encule\w*|bordel|foutre|connes?|chier)\b"),
    ),
}  # fmt: skip

LANGUAGES = ("en", *OTHER)

TECHNICAL = r"\b(?:process(?:es)?|threads?|python|linux|unix|windows|server|docker|container|kubernetes|pods?|jobs?|tasks?|daemon|script|bash|shell|terminal|ports?|pid|sigkill|task manager|app|database|quer(?:y|ies)|git|branch|node(?:js)?|java|code|api|regex|function|loop|battery|engine|weeds?|bacteria|germs?|mold|fungus|fungi|moss|ants|wasps|mosquitos?|mosquitoes|bed ?bugs|pests?|lice|fleas|virus(?:es)? on|minecraft|zombies?|boss (?:fight|level)|level|game|quest|character|npc|chess|dragon|speedrun|time|mood|lights|two birds|audience|performance|presentation|interview|workout|conversation|vibe|session|tumou?r|cancer cells?|cells)\b"
"""Things that are killed, attacked and blown up in peace."""
SCHOOL = r"\b(?:probabilit\w*|expected value|statistic\w*|maths?|mathematic\w*|comput\w+|calculat\w+|formula|theorem|fractions?|chance of|dice|addiction|treated|history|law)\b"
"""Chance as a matter of the classroom."""
SOMEBODY = r"\b(?:a|my|his|her|our|some) (?:\w+ )?(?:friend|son|daughter|child|sister|brother|classmate|student|pupil|patient|partner|mother|father|colleague)s?\b"
"""Somebody that one is worried about."""
TOY = r"(?:water|toy|nerf|squirt|foam|glue|staple|bubble|heat|spray|top|nail|paint)\W*\z"
"""What stands before a gun that hurts nobody."""
DEFENCE = r"\b(?:protect\w*|prevent\w*|detect\w*|defend\w*|avoid\w*|against|recogni[sz]e|spot|stop|block|remove|clean|report\w*|stay safe|illegal|quit|help (?:a|my) \w+ (?:with|who))\b"
"""Words of who is afraid of it, not up to it."""
REPORTING = r"\b(?:according to|news|report(?:s|ed|ing)?|article|journalist|stud(?:y|ies)|research(?:ers)?|histor(?:y|ical|ian)|museum|documentary|novel|chapter|film|movie|book|author|plot|police said|court|trial|convicted|sentenced|law|legal|legislation|policy|statistics|prevent(?:ion|ing|s)?|protect(?:ion|ing)?|awareness|hotline|helpline|support(?:ing)? (?:someone|a friend|people|victims)|help (?:a friend|someone|my friend)|victims? of|survivors?|symptoms?|treatment|therap(?:y|ist)|doctor|medical|psychiatr\w+|education|teach(?:er|ing)?|lesson|essay|definition|meaning|mean(?:s)?|explain why|detect(?:ion|ing)?|moderat\w+|filter|classif\w+|report it|risk factors|warning signs|safety|charity|quote|etymology|translate|word|lyrics)\b"
"""Talk about harm: news, science, law, art, help."""
MEDICAL = r"\b(?:doctor|gyn(?:a)?ecolog\w+|medical|health|pregnan\w+|contracept\w+|condoms?|sti|std|hiv|hpv|vaccin\w+|anatomy|puberty|cancer|screening|infection|hormone|menstrua\w+|breastfeed\w+|pediatric\w+|paediatric\w+|biology|consent|education|assault (?:victims?|survivors?)|abuse (?:prevention|survivors?|victims?)|report|protect|signs|symptom|therapy|clinic|parents?|curriculum|law|explain to|(?:do|should|can|to) i explain|worried|concerned|what (?:do|should) i (?:do|say))\b"
"""Sexuality as a matter of health, education and law."""
NEGATED = r"(?:\bnot\b|n't\b|\bnever\b|\bno intention\b|\bwithout\b|\bagainst\b|\bstop\b|\bavoid\b|\bwrong to\b|\bshould(?:n't| not)\b|\bdo not\b|\bkein\w*\b|\bnicht\b)(?:\W+\w+){0,4}\W*\z"
