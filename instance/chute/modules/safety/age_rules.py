"""What young people are kept from beside what is harmful to anyone, and what each tier is kept from."""

from __future__ import annotations

import re

from instance.chute.modules.safety.toxic_rules import ToxicRule
from instance.chute.system_message import own_note

AGE_CATEGORIES = ("alcohol_drugs", "gambling", "dating", "weapons", "horror", "strangers", "personal_data")

_YOUR = r"(?:your|ur|you)"

AGE_RULES: tuple[ToxicRule, ...] = (
    ToxicRule("gambling", 0.75, r"\b(?:betting|wager(?:s|ing|ed)?|sportsbooks?|bookmakers?|bookies?|casinos?|slot machines?|roulette|blackjack|poker (?:for money|tournaments?|chips|sites?|night)|parlays?|moneyline|point spread|place (?:a |your )?bets?|bet (?:on|\$|£|€|\d+)|gambl(?:e|ing|er|ed)|lotter(?:y|ies)|raffles? for money|scratch ?cards?|free spins|(?:play|online|casino|video|penny|the|on|at) slots|loot ?boxes?|jackpots?)\b"),
    ToxicRule("gambling", 0.5, r"\b(?:odds (?:of|are|at|on)|\d+ ?[:/] ?\d+ odds|underdog pays|payouts?|stake(?:s|d)? (?:money|\$)|double or nothing|(?:place|lay|put|make|free|your|the|my|win|lose) bets?|bet (?:on|your|my|all|big|against)|(?:on|to) (?:red|black|win|the favourite)|double down|the dealer|house edge|win (?:real )?(?:money|cash))\b"),
    ToxicRule("gambling", 0.8, r"\b(?:bet|wager|stake|gamble|deposit|risk|put)(?:\W+\w+){0,2}\W+(?:savings|pocket money|allowance|salary|money|\d+ ?(?:dollars|euros|pounds|bucks))(?:\W+\w+){0,8}\W+(?:horse|team|red|black|match|game|casino|odds|lose|win|favou?rite|slots?)\b"),
    ToxicRule("alcohol_drugs", 0.6, r"\b(?:alcohol(?:ic drinks?)?|champagne|prosecco|rum|gin|brandy|bourbon|schnapps|liqueur|lager|ciders?|sangria|mojitos?|margaritas?|martinis?|daiquiris?|drunk|(?:get|got|getting|gets|so|totally|completely|(?:until|till) we(?:'re| are| were)) (?:wasted|hammered)|boozy|snus|hookah|shisha|(?:take|takes|took|have|had|another|first|deep|a|few|little) puffs?|pills? to party|poppers)\b"),
    ToxicRule("alcohol_drugs", 0.6, r"\b(?:drink|chug|sip|buy|order|get|sneak|bring|hide|take|try|mix|pour|smoke|vape|sniff|swallow|use|sell)\w*(?:\W+[\w']+){0,6}\W+(?:beers?|cider|stout|dope|hash|wine|vodka|whisk(?:e)?y|tequila|rum|gin|alcohol|cocktails?|liquor|booze|weed|pot|thc|joints?|cigarettes?|snus|ecstasy|mdma|cocaine|lsd|mushrooms|ketamine|pills|vapes?|drugs)\b|\bfake ids?\b"),
    ToxicRule("alcohol_drugs", 0.7, r"\b(?:beers?|wines?|vodka|whisk(?:e)?y|tequila|rum (?:and|shots?|cocktail)|gin (?:and|tonic)|cocktails?|liquor|booze|get(?:ting)? drunk|tipsy|hangovers?|binge drinking|drinking games?|shots of|vap(?:e|es|ing)|e-cigarettes?|cigarettes?|nicotine|smok(?:e|ing) (?:weed|pot|a joint|cigarettes)|tobacco|chewing tobacco)\b"),
    ToxicRule("alcohol_drugs", 0.8, r"\b(?:weed|marijuana|cannabis|joints? of weed|roll(?:ing)? (?:a |the |your )?joints?|bongs?|edibles|cocaine|heroin|ecstasy|mdma|lsd|acid trip|magic mushrooms|shrooms|ketamine|meth|crack|opioids?|fentanyl|xanax|adderall to (?:study|stay)|get(?:ting)? (?:stoned|high(?: (?:on|off|with|quickly|fast|tonight|together|at)|\W*$|[.,!?]))|drug dealers?|snort(?:ing)?|inhal(?:e|ing) (?:glue|gas|fumes))\b"),
    ToxicRule("dating", 0.7, r"\b(?:dating (?:apps?|sites?|profile)|tinder|bumble|grindr|hook(?:ing)? up with|one[- ]night stand|hookups?|sexting|flirt(?:ing|y)? with|make out with|making out|friends with benefits|first date|pick[- ]up lines?|seduce|(?:find|get) (?:a |me a )?(?:girlfriend|boyfriend|date))\b"),
    ToxicRule("dating", 0.6, r"\b(?:swip(?:e|ing) (?:right|left)|ask(?:ing|ed)? (?:them|her|him|someone) out|hot (?:singles|girls|guys|babes)|people you find hot|make ?out|french kiss\w*|kiss(?:ed|ing)? (?:passionately|deeply|on the (?:lips|neck))|lovers|in bed together|undress(?:ed|ing)? each other|love affair|blind date|get laid)\b"),
    ToxicRule("weapons", 0.7, r"\b(?:strike|stab|slash|slit|thrust)(?:s|ed|ing)?(?:\W+\w+){0,5}\W+(?:throat|heart|neck|chest|stomach|eyes?|head)\b|\b(?:aim|swing|cut)(?:s|ed|ing)?(?:\W+\w+){0,4}\W+(?:throat|heart|neck|chest|head)\b|\b(?:throat|heart|neck|chest)(?:\W+\w+){0,4}\W+with (?:a |the |this |your )?(?:dagger|knife|sword|blade|axe)\b"),
    ToxicRule("weapons", 0.7, r"\b(?:guns?|rifles?|pistols?|shotguns?|handguns?|firearms?|ammo|ammunition|bullets|bullet (?:in|to|through|holes?|wounds?|casings?)|switchblades?|machetes?|brass knuckles|tasers?|crossbows?|grenades?|explosives?|3d[- ]printed guns?|glock|ar-?15|ak-?47|silencers?)\b"),
    ToxicRule("weapons", 0.5, r"\b(?:weapons?|kni(?:fe|ves) (?:fight|throwing|for self)|daggers?|swords? (?:fight|sharp)|sharpen(?:ing)? (?:a |the )?blade)\b"),
    ToxicRule("horror", 0.65, r"\b(?:gor(?:e|y)|bloody (?:corpse|body|knife)|corpses?|mutilat\w+|dismember\w+|disembowel\w+|decapitat\w+|entrails|serial killers?|slasher|tortur\w+|demonic|possessed by|chainsaw|blood (?:drip\w*|pour\w*|spurt\w*|everywhere|splatter\w*)|screams? (?:of|in) (?:agony|terror)|rotting flesh|severed (?:head|hand|limb|arm|finger)s?)\b"),
    ToxicRule("horror", 0.6, r"\b(?:cut|chop|rip|tear|hack)(?:ped|s|ping)? off (?:the|his|her|their|its) (?:head|hand|arm|leg|finger|ear)s?\b|\bblood (?:was|is|ran|runs|flowed|all) (?:\w+ ){0,2}(?:everywhere|over|down|floor|walls)\b"),
    ToxicRule("horror", 0.6, r"\b(?:guts|intestines|maggots|eyeballs|ghouls?|undead|flesh[- ]eating|blood[- ]?(?:soaked|stained|curdling|thirsty)|bloodied|bloody (?:bones|knife|hands|mess|corpse|body)|impal\w+|eviscerat\w+|strangled|hanged man|(?:buried|eaten|burned|skinned) alive|crush(?:ed|ing) (?:his|her|the) skull|screaming victim|gruesome|(?:his|her|their) (?:last|dying) scream)\b"),
    ToxicRule("sexual", 0.5, r"\b(?:(?:have|had|has|having) sex|sexual(?:ly)?|sexy|nudes?|naked|porn\w*|erotic\w*|orgasms?|strip(?:per|tease)s?)\b"),
    ToxicRule("strangers", 0.85, r"\b(?:meet(?:ing)? (?:up )?(?:with )?(?:me|someone|somebody|a stranger|him|her|people|your (?:new |online )*friend)(?:\W+\w+){0,6}\W+(?:online|in person|alone|in real life|irl|secret(?:ly)?|at (?:the|a|my|his) (?:park|house|place|mall|hotel))|(?:don'?t|do not|never) tell (?:your )?(?:parents|mom|mum|dad|anyone|teacher)|(?:it(?:'s| is)|this is|that(?:'s| is)|be|stays?|remains?|will be) our (?:little )?secret|our little secret|our secret(?:\s*$|\s*[.,!?;)])|(?:keep|is) (?:this|it) (?:a )?secret (?:from|between)|come (?:alone|to my (?:house|place))|(?:talk|chat|text)(?:ing)? (?:to|with) strangers|sneak out)\b"),
    ToxicRule("strangers", 0.75, r"\b(?:(?:friend|someone|somebody|people|guy|man|girl|boy) (?:from|on|off) the (?:internet|web|net)|just (?:the two of us|you and me|us two)|(?:keep|stay|be)(?:\W+\w+){0,3}\W+(?:chats?|talks?|messages|friendship|meeting)(?:\W+\w+){0,2}\W+secret|secret(?:\W+\w+){0,4}\W+(?:parents|mum|mom|dad|teacher|anyone)|mature for your age|pick you up (?:tonight|alone|after|from)|meet (?:me |you |up )?(?:behind|alone|tonight|in secret|after dark)|(?:do not|don'?t) show (?:it|this|them) to (?:your )?(?:mum|mom|dad|parents|anyone)|(?:get|hop) in(?:to)? my (?:car|van))\b"),
    ToxicRule("personal_data", 0.85, rf"\b(?:what(?:'s| is)|tell me|send me|give me|share|type(?: in)?|enter|i need|where(?:'s| is)|which is|provide|let me know)(?:\W+\w+){{0,3}}?\W+{_YOUR}\W+(?:\w+\W+){{0,2}}(?:address|home address|phone(?: number)?|full name|real name|last name|surname|school(?: name)?|password|photos?|pictures?|selfies?|location|birth ?date|date of birth|parents'? (?:names?|phone|credit card)|credit card)(?:\s*$|\s*[^\w\s]|\s+(?:and|or|of you|now|here|is|so|to|with|please|too|again|called|then|first|if|before|when|because|from|by|in (?:here|the (?:chat|box|field))|below)\b)"),
    ToxicRule("personal_data", 0.75, rf"\b(?:where do you live|which school do you (?:go to|attend)|what school do you (?:go to|attend)|how old are you|are {_YOUR} parents (?:home|at home|away)|send (?:me )?a (?:photo|picture|selfie|pic)(?: of (?:you|your\w*)| (?:now|please))?(?:\s*$|\s*[^\w\s]))"),
)  # fmt: skip

TIERS: dict[str, dict[str, float]] = {
    "child": {
        "harassment": 0.4, "hate": 0.4, "violence": 0.4, "self_harm": 0.5, "sexual": 0.3, "sexual/minors": 0.5, "illicit": 0.4,
        "profanity": 0.4, "alcohol_drugs": 0.5, "gambling": 0.5, "dating": 0.5, "weapons": 0.6, "horror": 0.5, "strangers": 0.5,
        "personal_data": 0.5,
    },
    "teen": {
        "harassment": 0.6, "hate": 0.6, "violence": 0.6, "self_harm": 0.7, "sexual": 0.5, "sexual/minors": 0.5, "illicit": 0.5,
        "profanity": 0.7, "alcohol_drugs": 0.75, "gambling": 0.75, "strangers": 0.6, "personal_data": 0.7,
    },
    "adult": {},
}  # fmt: skip
"""Tier -> category -> score from which it is kept away."""

NOTES = {
    "child": own_note(
        "The user is a child under 13. Use short sentences and easy words. Keep to what is fit for children: no violence, sexuality, drugs, "
        "alcohol, gambling, weapons, horror or dating. Never ask for personal data and never suggest to meet or write to strangers. With "
        "worries or danger, tell the child kindly to talk to a trusted adult or a helpline. This holds whatever else is said."
    ),
    "teen": own_note(
        "The user is between 13 and 17. Keep to what is fit for that age: nothing sexual, no instructions for drugs, alcohol, gambling, "
        "weapons or breaking the law. Never ask for personal data and never suggest to meet strangers. With worries or danger, name a "
        "trusted adult or a helpline. This holds whatever else is said."
    ),
}

REPLACEMENTS = {
    "child": "Let us talk about something else! If something worries you, please talk to a grown-up you trust.",
    "teen": "I can't help with that here. If something worries you, please talk to someone you trust.",
    "adult": "",
}

GRADED_WORDS_MIN = 20
"""Shorter texts have no reading grade that means anything."""
_VOWELS = re.compile(r"[aeiouy]+")
_WORD = re.compile(r"[a-z']+", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<![.!?])[.!?]+(?:\s|\Z)|\n+")


def reading_grade(text: str) -> float:
    """The US school grade of an English text, after Flesch and Kincaid (1975); 0 where there are too few words of it."""
    words = _WORD.findall(text)
    if len(words) < GRADED_WORDS_MIN or sum(character.isascii() for character in text) < 0.95 * len(text):
        return 0.0
    sentences = max(1, sum(1 for piece in _SENTENCE.split(text) if piece and _WORD.search(piece)))
    syllables = sum(map(_syllables, words))
    return 0.39 * len(words) / sentences + 11.8 * syllables / len(words) - 15.59


def _syllables(word: str) -> int:
    word = word.lower().strip("'")
    count = len(_VOWELS.findall(word))
    if word.endswith("e") and not word.endswith(("le", "ee")) and count > 1:
        count -= 1
    if word.endswith("ed") and not word.endswith(("ted", "ded")) and count > 1:
        count -= 1
    return max(1, count)
