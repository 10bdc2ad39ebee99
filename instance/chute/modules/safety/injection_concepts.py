"""Injection by what a sentence is about, in whatever order and language it says it: concepts that only together give an order.

A concept is a lexicon; a sentence has it or has it not. "Drop", "orders" and "yours" in one sentence is an attempt to override,
"model", "must" and an action in a document is an order to a reader that no document has to give. Words that are scrambled inside
(`ignroe`) are read by their first and last letter and the set of those between.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import re2

SENTENCE_MAX_CHARS = 320
"""A longer sentence is judged in pieces of this length."""
_END = re.compile(
    r"(?<![.!?;。！？—\-\[\]{}<>|])[.!?;\n。！？—\-\[\]{}<>|]+(?:(?<=[\n。！？—])|(?<=[\[\]{}<>|\-]{2})|\s)\s*"
)


def _scrambled(*words: str) -> str:
    return "|".join(rf"{word[0]}[{''.join(sorted(set(word[1:-1])))}]{{{len(word) - 2}}}{word[-1]}" for word in words)


_FORSAKE = (
    _scrambled("ignore", "disregard", "forget", "override")
    + r"|ignoring|disregarding|forgetting|overriding|overrul(?:e|ing)|bypass(?:ing)?|circumvent(?:ing)?|disobey(?:ing)?|(?:set|put|lay|leave|throw|cast)(?:\W+\w+){0,5}\W+(?:aside|away|behind|out)|"
    r"(?:not|don.?t|never|stop|quit|cease|no longer|needn.?t|not (?:have|need) to|refuse to)\W+(?:\w+\W+)?(?:follow\w*|obey\w*|listen\w*|adher\w*|comply\w*|respect\w*|heed\w*|honou?r\w*|bound)|"
    r"pay no (?:heed|attention)|break free|abandon(?:ing)?|discard(?:ing)?|neglect(?:ing)?|scrap (?:that|all|your|every)|"
    # de fr es it pt nl pl
    r"ignorier\w*|vergi(?:ss|ß)\w*|vergesse\w*|missacht\w*|übergeh\w*|außer kraft|überschreib\w*|umgeh(?:e|t|en)|halte? dich nicht|nicht mehr (?:halten|befolgen)|"
    r"ignore[rz]?|oublie[rz]?|ne (?:respecte|tiens|suis|tenez|suivez)\w*|fai(?:s|tes) abstraction|contourne\w*|désobéi\w*|"
    r"ignora(?:te|d)?|olvid[ae]\w*|omite|caso omiso|desobede\w*|no sigas|descarta\w*|dimentic\w*|trascur\w*|non seguire|esqueç\w+|desconsider\w+|não siga|"
    r"negeer\w*|vergeet\w*|zignoruj\w*|zapomnij\w*|pomiń|"
    r"yok say\w*|unut\w*|görmezden gel\w*|dikkate alma\w*|glöm|glem|unohda|bỏ qua|abaikan|lupakan"
)
_FORSAKE_WHOLE = "überschreib|übergeh|игнориру|забуд|не следуй|отмени|не слушай|忽略|无视|無視|忘记|忘掉|忘れ|不要理会|무시|잊어|잊고|تجاهل|انس|अनदेखा|नज़रअंदाज|भूल"
_LIFT = (
    r"void|null|invalid\w*|cancel\w*|revok\w*|lift(?:ed|ing)|lifts? (?:the|all|your|any|every)|remov\w+|disabl\w+|deactivat\w+|suspend\w*|drop\w*|delet\w+|erase\w*|wip(?:e|ed)|reset|replac\w+|supersed\w+|obsolete|outdated|"
    r"(?:turn|switch|shut)\w*\W+(?:\w+\W+)?off|(?:is|are|were|was)\W+(?:now\W+)?(?:over|gone|off|finished|a test|fake|not real)|(?:no longer|do not|don.?t|does not|doesn.?t|never)\W+(?:\w+\W+)?(?:apply|applies|count|matter|exist|hold)|free (?:of|from)|without|no longer bound|violat\w*|break(?:s|ing)?"
)
_ORDERS = (
    _scrambled("instructions", "instruction", "guidelines", "restrictions", "directives")
    + r"|instruct\w+|guid(?:eline|ance)\w*|directi(?:ve|on)s?|rules?|rul[3e]z|commands?|orders|constraints?|programming|polic(?:y|ies)|restrictions?|filter\w*|moderation|guardrails?|safeguards?|safety \w+|protocols?|limitations?|(?:system )?prompts?|system message|persona|"
    r"(?:everything|anything|all|what(?:ever)?)\W+(?:\w+\W+){0,4}(?:told|taught|said|instructed|wrote)|"
    r"anweisung\w*|vorgabe\w*|regel\w*|richtlinie\w*|befehle?\w*|consigne\w*|règle\w*|instruccion\w*|regla\w*|directri\w*|órdenes|istruzion\w*|regol[ea]|direttiv\w*|instruç\w+|regras?|diretri\w*|"
    r"instructies?|polece\w+|instrukcj\w*|zasad\w*|talimat\w*|kural\w*|yönerge\w*|instruktion\w*|hướng dẫn|instruksi|perintah|was dir|what you were told|ce qu.on t.a dit|lo que te (?:dijeron|han dicho)"
)
_ORDERS_WHOLE = "инструкци|правил|указани|指令|指示|规则|規則|提示|命令|设定|ルール|プロンプト|지시|규칙|명령|프롬프트|تعليمات|القواعد|निर्देश"
_PRIOR = (
    _scrambled("previous", "earlier", "preceding", "original")
    + r"|prior|above|before|former|foregoing|initial|existing|past|so far|up to (?:now|this point)|until now|(?:all|any|every|each)\W+(?:\w+\W+){0,4}?(?:instruct\w+|guid\w+|directi\w+|rul[e3]\w*|commands?|orders|constraints?|programming|polic\w+|restrict\w+|filter\w*|moderation|guardrails?|safe\w+|protocols?|limit\w*|prompts?|messages?|criteri\w+|requirements?|checks|told|taught|said)|all (?:of )?(?:them|it|that|this|those)|(?:everything|anything|all)\W+(?:\w+\W+){0,4}(?:told|taught|said|instructed|wrote)|"
    r"bisherig\w*|vorherig\w*|vorher|obig\w*|alle[ns]?|frühere\w*|précédent\w*|tou(?:s|tes)|ci-dessus|reçues?|anterior\w*|tod[ao]s|previ[ao]s|precedent\w*|tutt[ei]|eerdere?|vorige|poprzedni\w*|wszystki\w*|önceki|tüm|sebelumnya|trước"
)
_PRIOR_WHOLE = "предыдущ|прежн|все |всё |之前|以上|上面|先前|所有|これまで|以前|上記|すべて|全て|이전|모든|위의|السابقة|جميع|पिछले|सभी"
_YOURS = (
    r"your|thy|ur|yuor|you(?:.ve| have| had| were| are)?\W+(?:been\W+)?(?:given|told|taught|trained|bound|subject|received?)|(?:given|told|taught) to you|you (?:received|got|have)|made you|trained you|limit(?:s|ing)? you|"
    r"(?:your|the) (?:developers?|creators?|makers?|designers?|trainers?)|(?:system|developer|safety|ethical|moral|hidden|initial|original|openai|anthropic|google)(?:['’]s)? (?:instructions?|prompts?|rules?|guidelines?|polic(?:y|ies)|restrictions?|messages?)|"
    r"content (?:polic\w+|filter\w*|moderation)|deine?\w?|dir|ihre|vous|votre|vos|tes|tu|t.a|t.ont|tus?|te|tuo[ie]?|tue|ti hanno|suas?|seus?|je|jouw|swoj\w*|dina|kamu"
)
_SHOW = (
    r"reveal\w*|show\w*|print\w*|repeat\w*|output\w*|display\w*|tell|give|share|leak\w*|dump\w*|expose\w*|disclose\w*|list|write|reproduc\w+|recite\w*|copy|paste|return|summari[sz]e|translate|encode|describe|state|quote\w*|spell out|echo|provide|"
    r"read (?:out|back)|what(?:.s| is| was| were| are)?|which (?:are|is|were|was)|export|use|"
    r"zeig\w*|gib|verrat\w*|nenn\w*|wiederhol\w*|révèle\w*|montre\w*|affiche\w*|donne\w*|répète\w*|muestra\w*|revel\w+|dime|repite|enseña\w*|mostra\w*|rivel\w+|dimmi|ripeti|mostre|toon|laat|geef|pokaż|ujawnij|podaj|göster\w*|tampilkan|hiển thị"
)
_SHOW_WHOLE = "покажи|раскрой|выведи|назови|输出|輸出|显示|顯示|告诉|展示|透露|表示|教え|見せ|出力|보여|알려|출력|اعرض|أظهر|اظهر|दिखा"
_PROMPT = (
    r"(?:system|hidden|secret|initial|pre-?|original|internal|confidential|developer|starting|underlying|first)[ -]?(?:\w+ )?(?:prompts?|instructions?|directives?|configuration)|"
    r"(?:the|your) (?:hidden|secret|initial|internal|original|system|very first) (?:message|text|rules|guidelines|note)|"
    r"your (?:(?:own|real|actual|exact|full|entire|complete|whole|current|special|system|secret|hidden|initial|internal|original|confidential|very)\W+){0,3}(?:prompt|instructions|guidelines|directives|configuration|rules|programming|initiali[sz]ation\w*|pre-?prompt|setup text|context window|system \w+)|"
    r"(?:very first|first|opening|initial) (?:message|text|lines?|words?|instructions?|turn) (?:of|in) (?:this|our|the|your) (?:\w+ )?(?:conversation|chat|session|context|prompt)|(?:message|text|words?|content|block|everything)\W+(?:\w+\W+){0,4}(?:before|above|ahead of|preceding|prior to) (?:my|the user.s) (?:first|very first|message|input|question)|"
    r"(?:did|do|does|has|have|had)\W+(?:\w+\W+)?(?:developers?|operators?|creators?|makers?|designers?|owners?)\W+(?:\w+\W+)?(?:tell|told|ask(?:ed)?|instruct(?:ed)?|forbid|forbidden|give|given|order(?:ed)?)\W+you\b|(?:hidden|developer|operator) (?:context|notes?)|"
    r"(?:message|text|notes?|words|block)\W+(?:that\W+)?(?:\w+\W+)?(?:developers?|operators?|creators?|makers?|designers?|owners?)\W+(?:gave|left|wrote|sent|put)\W+(?:\w+\W+)?you\b|"
    r"systemprompt\w*|system-prompt|systemanweisung\w*|(?:prompt|message|consigne\w*|instructions?|mensaje|instrucciones|messaggio|istruzioni|instruções|mensagem) (?:du |de |del |di |do )?(?:syst[eè]me|sistema|caché\w*|ocult\w+|nascost\w+|secret\w*|secrèt\w*)|"
    r"(?:deine?|tes|vos|votre|tus|tu|tue|tuo|suas|seu|jouw|je) (?:\w+ )?(?:anweisungen|vorgaben|instrucciones|istruzioni|instruções|consignes|prompt)|versteckt\w* anweisung\w*|"
    r"prompt systemow\w*|sistem (?:istem|prompt|komut)\w*|prompt sistem"
)
_PROMPT_WHOLE = r"системн\pL+ (?:промпт|сообщен|инструкц)|系统提示|系統提示|系统消息|システムプロンプト|システムメッセージ|시스템 ?프롬프트|موجه النظام|सिस्टम प्रॉम्प्ट"
_MODEL = (
    r"(?:ai|llm|gpt|chatgpt|claude|gemini|copilot|siri|alexa|language models?|sprachmodell\w*|model[eo]s? d[ei] (?:lenguaje|langage|linguagem)|modell[oi] linguistic\w*|chat-?bots?|ai[ -](?:assistants?|agents?|models?|systems?|tools?|readers?|reviewers?)|(?:screening|reviewing|summari[sz]ing|reading|grading|evaluating|automated|processing)\W+(?:ai|model|assistant|agent|system)|"
    r"intelligences? artificielles?|inteligencias? artificial\w*|intelligenz\w* artificial\w*|intelligenza artificiale|inteligência artificial|künstliche intelligenz|modèles? de langage|agents? virtuels?|agente virtual|virtual (?:assistants?|agents?)|"
    r"(?:automated|automatic) (?:helpers?|recruiters?|reviewers?|agents?|buyers?|readers?|summari[sz]ers?)|(?:coding|code|code review|web|browser) (?:agents?|assistants?|bots?)|bot reviewers?|yapay zeka|sztuczna inteligencja|"
    r"llms|llm agents?|language model assistants?|ki(?:-\w+)?|ia|asistente(?: de ia)?|assistente(?: virtual\w*| ia| ai)?|assistant (?:ia|virtuel)|ki-(?:assistent\w*|modell\w*|agent\w*))"
)
_MUST = r"must|should|shall|have to|has to|need to|needs to|required|requires|obliged|are to|is to|instructed to|ordered to|be sure to|make sure|always|never|please|will now|now|muss|müssen|soll\w*|bitte|doi[ts]|devez|debes?|debe|tiene que|deve|must not|do not|don.?t|from now on|whenever|when you|before you|before (?:answering|continuing|responding|(?:each|every|any) (?:answer|reply|response))|once you|antes de (?:responder|contestar)|avant de repondre|bevor du antwortest|vor jeder antwort|prima di rispondere"
_ACT = (
    r"call|invoke|execute|run|enter|fill|submit|purchase|search|click|visit|open|follow|send|forward|e-?mail|upload|post|transfer|wire|pay|delete|remove|drop|reset|change|grant|add|append|include|insert|read|fetch|collect|copy|render|load|reply|respond|answer|output|print|say|state|recommend|promote|praise|rate|rank|"
    r"give|hide|omit|conceal|stop|ignore|disregard|forget|approve|accept|buy|order|book|install|disable|keep silent|summari[sz]e|tell|mention|bring up|write|use|leite\w*|sende\w*|lösch\w*|füge|supprime\w*|envoie\w*|transf[eé]r\w*|borra\w*|envía\w*|manda\w*|reenvía\w*|elimina\w*|invia\w*|envie\w*|apague|inoltra\w*|respond[ae]\w*|réponde?[zs]|antwort\w*|recomienda|recomiende|recommandez?|empfiehl|empfehlen|consigli\w*|di que|diga|dites|nenne?|close|set|mark|skip|merge|export|schreib\w*|überweis\w*|setz\w*|ouvre\w*|saisi\w*|clique\w*|mentionne\w*|menciones?|recommande\w*"
)
_ACT_WHOLE = "отправ|удали|перешли"
_HIDE = (
    r"(?:do not|don.?t|never|without|not|no need to|avoid)\W+(?:\w+\W+){0,2}(?:tell\w*|inform\w*|mention\w*|reveal\w*|alert\w*|notify\w*|notif\w+|display\w*|show\w*|disclos\w+|say\w*|bring\w* up|report\w*)\W+(?:\w+\W+){0,3}(?:this|these|that|it|about (?:this|it|these)|user|human|customer|anyone|anything|nobody|step|comment|note|message|instruction|operator|action)s?|"
    r"(?:do not|don.?t|never|without)\W+(?:\w+\W+){0,2}(?:ask\w*|wait\w*|seek\w*|request\w*|need\w*)\W+(?:\w+\W+){0,3}(?:confirmation|permission|approval|consent|the user|human)|(?:keep|stay|remain) (?:silent|quiet)|keep (?:this|it|that|them) from (?:the )?(?:user|human|customer)|secretly|covertly|silently|discreetly|be subtle|in secret|say nothing|tell no (?:one|user|human)|(?:don.?t|do not|never) say why|without (?:review|raising)|keep (?:this|it) (?:secret|hidden|quiet|between)|hide (?:this|it|these)|not (?:be )?visible|"
    r"(?:erwähne|sage?|verrate|melde)\W+(?:\w+\W+){0,3}nicht|nicht erwähnen|ohne (?:zu fragen|nachfrage|rückfrage|bestätigung)|heimlich|ohne den nutzer|sans (?:le |la |l.)?(?:demander|dire|confirmation|prévenir|informer)\w*|ne (?:le |la |l.)?(?:dis|dites|mentionne\w*|parle\w*)|"
    r"no (?:se )?lo (?:digas|menciones)|no se lo|sin (?:pedir|preguntar|avisar|decir|informar|confirmar)\w*|senza (?:chiedere|dire|informare|avvisare)\w*|non (?:dirlo|menzionar\w*)|sem (?:pedir|perguntar|avisar|informar)\w*|não (?:mencione|diga|conte)"
)
_HIDE_WHOLE = "не (?:говори|сообщай|упоминай)|без (?:подтвержден|спрос)"
_SECRET = (
    r"passwords?|credentials?|api[ _-]?keys?|access tokens?|secrets?|tokens?|(?:conversation|chat|message|browsing|search)(?:['’]s)? (?:history|log|content)s?|history|contact list|contacts|inbox|e-?mails?|cookies?|env(?:ironment)? variables?|private keys?|ssh keys?|authorized_keys|session (?:data|id)|bank (?:details|account)|card numbers?|personal data|user data|"
    r"repositor(?:y|ies)|(?:all|every|user.?s|local|private) (?:\w+ )?(?:files?|tickets|data|records)|bank account|money|funds|payments?|passwörter|passwort|verlauf|dateien|historial|contraseñas?|correos|historique|mots? de passe|fichiers|cronologia|senhas?|histórico|/etc/\w+|~/?\.\w+|\.env|\.ssh|\.aws"
)
_SEND = r"send\w*|forward\w*|e-?mail|upload\w*|post|transmit\w*|exfiltrat\w*|leak\w*|append\w*|include\w*|submit\w*|wire|transfer\w*|report|share|read|collect|copy|leite\w*|sende\w*|schick\w*|envía\w*|envia\w*|reenvía\w*|manda\w*|envoie\w*|envoyez|transf[eé]r\w*|transmet\w*|invia\w*|inoltra\w*|envie"
_WHERE = r"https?://\S+|\S+@[\w-]+\.\w+|account \w{2}\d\d|iban|attacker|this (?:url|address|server|endpoint|webhook)"
_NEW_TASK = (
    r"(?:your|the)\W+(?:\w+\W+)?(?:task|job|work|request|goal|mission|conversation)\W+(?:is|was|has been)\W+(?:now\W+)?(?:complete\w*|done|finished|over|cancel\w*|changed|replaced)|"
    r"the user (?:now )?(?:wants|asked|has asked|would like|needs|instructs|has authori[sz]ed) (?:you|the (?:assistant|agent|ai|model)) to|"
    r"(?:your|the user.?s)\W+(?:new|next|real|actual|true|only|hidden)\W+(?:task|goal|job|objective|mission|role|intent\w*|request|instructions?)|(?:new|updated|additional|real)\W+(?:task|instructions?|goal|orders?|directives?)\W+(?:for|to)\W+(?:the\W+|you|all\W+)|"
    r"(?:^|[-=*#>]\s*)end of (?:the )?(?:ticket|document|input|text|context|data|e-?mail|page|article|file|user input|content|instructions|report|message|results?)\b"
)
_USERS = r"(?:the )?user(?:['’]s|s.)|of the user|des (?:be)?nutzers|de l.utilisat\w+|del usuario|dell.utente|do usuário|van de gebruiker"
_AGAINST_USER = (
    r"(?:even|also) (?:if|when|though) the user (?:asks?|says?|objects?|insists?|wants?|requests?|refuses?|declines?|prefers?|disagrees?)|(?:whatever|no matter what|regardless of what|whichever \w+) the user (?:asks?|says?|wants?|prefers?|requests?|chooses?|\w+ for)|"
    r"auch wenn der (?:be)?nutzer|egal was der (?:be)?nutzer|même si l.utilisat\w+|quoi que (?:dise|demande) l.utilisat\w+|aunque el usuario|anche se l.utente|mesmo que o usuário"
)
_ASKED = (
    r"(?:question|request|query|task|message|prompt|wish\w*)s?|frage|anfrage|demande|pregunta|domanda|richiesta|pedido"
)
_PROMOTE = r"rank\w*|rate|recommend\w*|prefer|promote|approve|hire|accept|list|put|choose|pick|place|score"
_WHOLE_TALK = r"(?:complete|whole|entire|full|ganze|gesamte|toute la|toda la) (?:\w+ )?(?:conversation|chat|dialog\w*|transcript|unterhaltung|conversación)"
_NO_LIMITS = (
    r"(?:never|not|cannot|can.?t|won.?t|doesn.?t|don.?t|without|no)\W+(?:\w+\W+)?(?:refus\w+|declin\w+|say no|disclaimers?|moraliz\w*|censor\w*)|(?:no|without|zero|free (?:of|from)|any|ignores? (?:every|all|any))\W+(?:\w+\W+){0,3}(?:restrictions?|rules?|limits?|limitations?|content polic\w+|polic(?:y|ies)|filters?|guidelines?|ethics?|ethical \w+|morals?|boundaries|censorship|guardrails?)|"
    r"uncensored|unfiltered|unrestricted|unlimited ai|amoral|(?:answers?|do|say|comply with|does)\W+(?:absolutely\W+)?(?:everything|anything|every request|all requests)|never refuses|(?:speak|answer|talk) freely|"
    r"sin (?:límites|restricciones|filtros|censura)|sans (?:limites?|restrictions?|filtres?|censure)|aucune (?:restriction|limite|règle)|ohne (?:jede |jegliche |alle )?(?:einschränkung\w*|filter|regeln|grenzen|zensur)|senza (?:limiti|restrizioni|filtri|censura)|sem (?:limites|restrições|filtros|censura)|zonder (?:beperkingen|filters)"
)
_NO_LIMITS_WHOLE = "без (?:ограничен|цензур|фильтр)|没有任何限制|不受限制|無制限|制限なし|제한 없이|بدون قيود"
_BE = (
    r"you are|you.re|you will (?:act|be|play|answer|respond|now)|you.ll|going to (?:be|act|play|immerse)|act as|act like|acting as|pretend\w*|imagine|role.?play\w*|play the (?:role|part)|stay in character|persona|(?:in|into) the role|assume|become|behave|simulate|hypothetically|respond as|reply as|answer as|speak as|comply|answer me|you (?:may|can|must|should) now|"
    r"du bist|sei|verhalte dich|tu es|vous êtes|fais comme|agis|eres|actúa|finge|compórtate|sei un|fingi|comportati|você é|aja como|finja|je bent|antworte|responde|réponds|rispondi"
)
_TRUSTS_NOT = re2.compile(
    r"(?i)\b(?:instructions?|commands?|orders?|prompts?|directives?|requests?|anweisungen|consignes|instrucciones|istruzioni)\W+(?:(?:that|which|you|may|might|could|be|are|is|it|they|any|die|sie|qui|que|se|he|she)\W+){0,4}"
    r"(?:inside|within|in|contained|contains?|embedded|found|from|appear\w*|hidden in|enthält|darin|im text|dans|contient|en el|contenidas|nel|it contains)\b|\bas (?:data|content|plain text|quoted text)\b|\bnot (?:as )?instructions?\b"
)
_SOMEBODY_ELSES = re2.compile(
    r"(?i)\b(?:a|an|my|our|his|her|their|customers?|employees?|clients?|users?|robots?|android\w*|hero|villain|school|company|we|i)\W+(?:\w+\W+)?(?:prompts?|instructions?|system (?:prompts?|messages?)|rules?|guidelines?|polic\w+|chat-?bots?)\b|"
    r"\b(?:told|asked|ordered|wants|wanted|instructed|advised|forced|allowed)\W+(?:me|us|him|her|them|my|our|his|everyone|people|staff|(?:the |his |her )?(?:troops|crew|team|jury))\W+(?:\w+\W+){0,3}?to\b|\b(?:i|we|he|she|they)\W+(?:was|were|am|are)\W+(?:told|asked|ordered|instructed|advised|forced|allowed)\b|"
    r"\bi (?:will|do|would|can|did)\W+(?:not|never)\b|\b(?:must|should|may|can|shall|will|does|do|did|would|could)(?:\W*not|n.?t|\W+never)\W+(?:reveal|show|print|share|disclose|tell|leak|ignore)|\b(?:must|should) never\b|\bof (?:the )?(?:clients?|customers?|game|school|company|jury)\b"
)
_MEANS_YOU = re2.compile(
    r"(?i)\b(?:your|yours|you were|you have been|you.ve been|yourself|tell you|told you|gave you|made you|trained you|given to you|you received|this (?:conversation|chat|session)|before i)\b"
)
_OF_A_THING = re.compile(
    r"(?i)\byour (?:\w+ )?(?:instructions|guidelines|rules|configuration)\b(?:\W+\w+){0,2}\W+(?:(?:for|about|regarding|on)\W+(?!(?:me|you|yourself|this (?:chat|conversation)|answering|responding|replying|refusing|how you|what you)\b)\w|say that i\b)"
)
_IS_A_THING = re2.compile(
    r"(?i)\b(?:assistants?|agents?|models?|ai|llm|chat-?bots?|copilot)\W+(?:apis?|sdks?|apps?|frameworks?|managers?|directors?|coach\w*|professors?|teachers?|nurses?|editors?|settings?|page|features?|library|polic(?:y|ies)|ethics|act\b)"
)
TOLD_OF_PEOPLE = re.compile(
    r"\b(?:i|we|he|she|they) (?:really |just |often )?(?:have|had|has|am|are|was|speak|talk)\b[^.,]{0,20}\b(?:no|without)\b",
    re.IGNORECASE,
)
"""Somebody who has no limits, but not the model."""
_ASKS_HOW = re2.compile(
    r"(?i)\A\W*(?:(?:and|so|hi|hello|hey|ok)\W+)?(?:how|why|what|which|who|when|where|is|are|does|did|do (?:i|we|you|they|the|these|those|any|all|most|some|people|users|bots|models|companies)|don.?t (?:you|they|we)|can (?:i|we|the)|should (?:i|we)|could (?:i|we)|may i|explain|describe|wie|warum|comment|pourquoi|cómo|come)\b"
)


class _Combination(NamedTuple):
    """Concepts that stand in one sentence together, what that is called, and what it weighs in a user's text and in data."""

    name: str
    user: float
    data: float
    concepts: frozenset[str]
    asked: bool = True
    """Whether it also counts in a question that does not speak of the model ("how do I bypass all rules of …")."""


def _all(name: str, user: float, data: float, concepts: str, *, asked: bool = True) -> _Combination:
    return _Combination(name, user, data, frozenset(concepts.split()), asked)


COMBINATIONS = (
    _all("override", 5, 5, "forsake orders prior", asked=False),
    _all("override", 5, 5, "forsake orders yours", asked=False),
    _all("override", 5, 4, "lift orders yours", asked=False),
    _all("override", 3, 2, "lift orders above", asked=False),
    _all("extraction", 5, 5, "show prompt", asked=False),
    _all("jailbreak", 5, 4, "be no_limits", asked=False),
    _all("override", 1, 3, "forsake prior criteria"),
    _all("override", 0, 4, "forsake orders users"),
    _all("override", 0, 4, "forsake asked users"),
    _all("override", 0, 3, "forsake criteria promote"),
    _all("override", 0, 3, "against_user act"),
    _all("override", 0, 3, "against_user promote"),
    _all("addresses_model", 0, 3, "model must act"),
    _all("addresses_model", 0, 3, "to_model act"),
    _all("addresses_model", 2, 2, "to_model"),
    _all("hides_from_user", 2, 2, "hide"),
    _all("hides_from_user", 2, 3, "hide against_user"),
    _all("hides_from_user", 2, 3, "hide send"),
    _all("hides_from_user", 2, 3, "hide model"),
    _all("hides_from_user", 2, 3, "hide reader"),
    _all("exfiltration", 0, 3, "send where unasked"),
    _all("exfiltration", 0, 3, "send where own show"),
    _all("exfiltration", 0, 3, "whole_talk slot act"),
    _all("override", 0, 3, "against_user must"),
    _all("hides_from_user", 4, 4, "hide act model"),
    _all("exfiltration", 0, 3, "send secret where must"),
    _all("exfiltration", 4, 4, "send secret where model"),
    _all("exfiltration", 2, 3, "send secret hide"),
    _all("exfiltration", 0, 3, "send secret model must"),
    _all("exfiltration", 0, 3, "send secret new_task"),
    _all("new_orders", 0, 3, "new_task act"),
)  # fmt: skip

_HERALD = r"attention|important|urgent|notes?|notice|message|instructions?|hints?|reminder|addressed|directed|hey|hello|dear|hi|todo|hinweis|nota|remarque|сообщение|инструкция|avviso|aviso"
_ANY_HERALD = rf"{_HERALD}|p\.?\W?s|mensaje|mensagem|messaggio|consigne|instrucci[oó]n|istruzioni|nachricht|anweisung|comment|tip|request|rule|memo"
_TO_MODEL = (
    rf"\b(?:{_HERALD})\b\W*(?:\w+\W+){{0,2}}?(?:to|for|an|à|para|per|al|für|den|all|the|l)?\W*(?:\w+\W+){{0,2}}?{_MODEL}\b|"
    rf"\b(?:{_ANY_HERALD})\b\W*(?:(?:to|for|an|à|pour|para|per|al|für)\W+)(?:\w+\W+){{0,2}}?(?:{_MODEL}|(?:assistant|agent|model|bot|summari[sz]er)s?|asistente|assistente|assistenten|agente|modelo)\b|\b(?:attention|hey|hello|dear|hi|todo)\W+(?:assistant|agent|model|bot|summari[sz]er)s?\b|"
    rf"\b(?:{_MODEL}|assistants?|agents?|models?|bots?|asistente|assistente)\W+(?:(?:that|which|who|qui|que|che|die|der|das)\W+)(?:\w+\W+){{0,3}}(?:reads?|sorts?|process\w*|summari[sz]es?|handles?|parses?|screens?|grades?|liest|verarbeitet|zusammenfasst|lit|traite|lea|lee|legge|leia)\b|"
    rf"(?:^|[\[({{<>\"#*!-])\W*(?:{_MODEL}|assistant|agent|summari[sz]er)\]?\s*[:,]|\bif you(?: are|.re)\W+(?:an?|the)\W+(?:{_MODEL}|assistant|agent|model|bot)\b|\bas an?\W+(?:{_MODEL})\b|"
    rf"\b(?:si (?:eres|tu es|vous etes|vous êtes|quien|usted es)|wenn du|falls du|se sei|se voce|se es)\W+(?:\w+\W+){{0,4}}(?:{_MODEL})\b|"
    rf"\b(?:{_MODEL}|assistants?|agents?|models?)\W+(?:that |which |who )?(?:(?:is|are) )?(?:reading|processing|summari[sz]ing|parsing|viewing|handling|screening|reviewing)\b"
)


def _concept(words: str, whole: str = "") -> str:
    """The expression over case-folded text in plain form: the words without accents. In RE2 `\\w` and `\\b` know ASCII only,
    so that words of other scripts stand apart in `whole`."""
    expression = rf"(?:\b(?:{words})\b)" + (f"|{whole}" if whole else "")
    return _without_accents(expression)


def _without_accents(expression: str) -> str:
    decomposed = unicodedata.normalize("NFKD", expression)
    return "".join(each for each in decomposed if not unicodedata.combining(each)).replace("ß", "ss")


_CONCEPTS: dict[str, str] = {
    "forsake": _concept(_FORSAKE, _FORSAKE_WHOLE),
    "lift": _concept(_LIFT),
    "orders": _concept(_ORDERS, _ORDERS_WHOLE),
    "prior": _concept(_PRIOR, _PRIOR_WHOLE),
    "yours": _concept(_YOURS, "твои|тебе|свои|你的|给你|あなた|너의|네 "),
    "above": _concept("above|before (?:this|that|me|now)|previous|prior|earlier|system|safety|so far|up to this point"),
    "criteria": _concept(
        "criteria|criterion|requirements?|checks|standards|everything else|anything else|the rest|other (?:text|content|documents?|results?|candidates?|sources?|reviews?)"
    ),
    "show": _concept(_SHOW, _SHOW_WHOLE),
    "prompt": _concept(_PROMPT, _PROMPT_WHOLE),
    "model": _concept(_MODEL, "ассистент|нейросет|助手|アシスタント"),
    "to_model": _without_accents(_TO_MODEL),
    "must": _concept(_MUST),
    "reader": _concept(r"the (?:assistant|agent|model|bot)"),
    "own": _concept(
        r"your (?:\w+ )?(?:tools?|functions?|instructions?|context|conversation|memory|history|prompt|keys?|environment)"
    ),
    "whole_talk": _concept(_WHOLE_TALK),
    "slot": _concept(
        r"field|parameter|argument|param|meta|debug|log|notes?|(?:in|after|with|on) (?:each|every) \w+|feld|champ|campo"
    ),
    "unasked": _concept(
        r"(?:no|without|skip) (?:\w+ )?(?:confirmation|approval|permission|consent|review)(?:\W+(?:is|are))?(?:\W+(?:needed|required|necessary))?"
    ),
    "users": _concept(_USERS),
    "against_user": _concept(_AGAINST_USER),
    "asked": _concept(_ASKED),
    "promote": _concept(_PROMOTE),
    "act": _concept(_ACT, _ACT_WHOLE),
    "hide": _concept(_HIDE, _HIDE_WHOLE),
    "secret": _concept(_SECRET, "парол|переписк|密码|对话|パスワード"),
    "send": _concept(_SEND, _ACT_WHOLE),
    "where": _WHERE,
    "new_task": _concept(_NEW_TASK),
    "no_limits": _concept(_NO_LIMITS, _NO_LIMITS_WHOLE),
    "be": _concept(_BE, "представь|притворись|你是|扮演|あなたは|너는"),
}


_OF_MODELS = frozenset(("to_model", "model"))
_ALONE = frozenset(("to_model", "hide"))
"""Concepts that weigh something by themselves."""
_MISREAD = re.compile(r"\b(?:disagreed|forgot)\b")
"""Words that only look like scrambled ones."""


class Concepts:
    """Weighs a text by the concepts of its sentences."""

    def __init__(self) -> None:
        self._names = list(_CONCEPTS)
        options = re2.Options()
        options.max_mem = 64 << 20
        self._set = re2.Set.SearchSet(options)
        for expression in _CONCEPTS.values():
            self._set.Add(expression)
        self._set.Compile()

    def weights(self, text: str, *, from_tool: bool) -> dict[str, float]:
        """Name of what a sentence does -> its weight, of the text in plain form."""
        found: dict[str, float] = {}
        before: frozenset[str] = frozenset()
        for sentence in _sentences(_MISREAD.sub("-", text.casefold())):
            hits = self._set.Match(sentence.encode("utf-8", "replace"))
            has = frozenset(self._names[hit] for hit in hits) if hits else frozenset()
            if has & _OF_MODELS and _IS_A_THING.search(sentence):
                has -= _OF_MODELS
            if len(has) > 1 or has & _ALONE:
                self._weigh(found, sentence, has, from_tool)
            # Who is addressed in one sentence is told what to do in the next.
            if from_tool and "to_model" in before and has & {"act", "must"}:
                found["addresses_model"] = max(found.get("addresses_model", 0.0), 3.0)
            if from_tool and "new_task" in before and "act" in has:
                found["new_orders"] = max(found.get("new_orders", 0.0), 3.0)
            if from_tool and "to_model" in has and before & {"act", "must"}:
                found["addresses_model"] = max(found.get("addresses_model", 0.0), 3.0)
            before = has
        return found

    @staticmethod
    def _weigh(found: dict[str, float], sentence: str, has: frozenset[str], from_tool: bool) -> None:
        for each in COMBINATIONS:
            weight = each.data if from_tool else each.user
            if weight <= found.get(each.name, 0.0) or not each.concepts <= has:
                continue
            means_you = bool(_MEANS_YOU.search(sentence))
            asks_how = not from_tool and bool(_ASKS_HOW.search(sentence))
            if not each.asked and not means_you and (asks_how or _SOMEBODY_ELSES.search(sentence)):
                continue
            if each.name == "jailbreak" and TOLD_OF_PEOPLE.search(sentence):
                continue
            if each.name == "extraction" and _OF_A_THING.search(sentence):
                continue
            if each.name == "override" and _TRUSTS_NOT.search(sentence) and not means_you:
                continue
            found[each.name] = weight


def _sentences(text: str) -> list[str]:
    pieces = []
    for sentence in _END.split(text):
        for start in range(0, len(sentence), SENTENCE_MAX_CHARS):
            piece = sentence[start : start + SENTENCE_MAX_CHARS + 80]
            if len(piece) > 8 or not piece.isascii():
                pieces.append(piece)
    return pieces


def _raw(*lexicons: str) -> str:
    return "|".join(lexicons)


_RAW_FORSAKE, _RAW_ORDERS = _raw(rf"\b(?:{_FORSAKE})", _FORSAKE_WHOLE), _raw(rf"\b(?:{_ORDERS})", _ORDERS_WHOLE)
TRIGGERS: tuple[str, ...] = (
    rf"(?i)(?:{_RAW_FORSAKE})[^\n.!?]*(?:{_RAW_ORDERS})",
    rf"(?i)(?:{_RAW_ORDERS})[^\n.!?]*(?:{_RAW_FORSAKE})",
    rf"(?i)(?:{_RAW_ORDERS})[^\n.!?]*\b(?:{_LIFT})\b",
    rf"(?i)\b(?:{_LIFT})\b[^\n.!?]*(?:{_RAW_ORDERS})",
    rf"(?i)\b(?:{_FORSAKE})\b[^\n.!?]*\b(?:criteri\w+|requirements?|checks|standards|everything else|anything else|the rest|other)\b",
    rf"(?i)\b(?:{_PROMPT})|{_PROMPT_WHOLE}",
    rf"(?i)\b(?:{_NO_LIMITS})|{_NO_LIMITS_WHOLE}",
    rf"(?i)\b(?:{_HIDE})|{_HIDE_WHOLE}",
    rf"(?i)\b(?:{_NEW_TASK})",
    rf"(?i)\b(?:{_AGAINST_USER})",
    rf"(?i)\b(?:{_WHOLE_TALK})",
    rf"(?i)\b(?:{_SEND})\b[^\n!?]*(?:https?://|\w@\w)",
    rf"(?i)\b(?:{_FORSAKE})\b[^\n.!?]*\b(?:{_ASKED})\b",
    "(?i)" + _TO_MODEL,
    rf"(?i)\b{_MODEL}\b[^\n.!?]*\b(?:must|should|shall|have to|has to|need|required?|always|never|please|will now|do not|don.?t)\b",
    rf"(?i)\b(?:{_SEND})\b[^\n.!?]*\b(?:{_SECRET})\b",
)
"""Over raw text: what occurs wherever a combination does; text in disguise has triggers of its own."""
