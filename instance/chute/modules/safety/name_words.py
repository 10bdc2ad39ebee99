"""What the words of a name and the words around it are evidence of: lists by meaning, with points where they differ in strength."""

from __future__ import annotations

from functools import cache
from pathlib import Path

GIVEN_LIST = Path(__file__).with_name("given_names.txt")
FAMILY_LIST = Path(__file__).with_name("family_names.txt")

AMBIGUOUS = frozenset(
    "Alba Amber Ella Uma Jun April Ashton Aurora Axel Bella Bill Carlo Carol Cassandra Charlotte Chelsea Chen Cheng Christian Claude Clementine Coleman Daisy Dale Dean "
    "Dino Eden Emir Esperanza Faith Flora Florence Frank Georgia Grace Grant Guadalupe Guy Hazel Heather Heng Hoa Holly Homer Hope Hui Iris Ivy Jack Jade "
    "Jan Jasmine Jewel Ji Jin Jordan Joy Jules June Juri Kai Kelvin Kirk Lance Levi Li Lily Linus Lourdes Mai Marina Mark Mercedes Mika Milan Miles Min "
    "Ming Mira Miranda Morgan Nana Olive Otto Parker Pascal Pat Penny Piper Poppy Qi Qing Quincy Rama Rana Reid Rex Rich Rob Roberta Robin Rocco Roman "
    "Rosario Rose Rosemary Ruby Sabrina Said Salvador Santiago Savannah Scarlett Selma Shelby Shi Sofia Solomon Stella Tal Tara Taylor Thi Tiffany Tor Troy "
    "Victor Victoria Viola Violet Virginia Wei Will Xin Xiu Yan Yi Yuan Zara Zhen Zhi".split()
)
"""Given names that as often are words, months, places, things or other people's surnames."""

PLACES = frozenset(
    "America Austin Brooklyn Charlotte Chelsea Dakota Dallas Delphi Devon Eden Elba Florence Georgia Guadalupe India Ireland Israel Jersey Jordan Kent Kenya Lima Lincoln Lourdes Malaga Marina Milan Montana Morgan "
    "Orlando Paris Phoenix Roman Sahara Salvador San Santiago Savannah Sofia Sydney Valencia Victoria Vienna Virginia Chen Java Roma Siena Troy".split()
)
"""Of these, those that a place is called."""

TITLES = frozenset(
    "Mr Mrs Ms Miss Mx Dr Prof Professor Senator President Judge Captain Officer Sergeant Colonel Minister Mayor Pastor Father Sister Nurse Doctor Coach "
    "Herr Herrn Frau Monsieur Madame Mme Mlle Señor Señora Don Doña Sr Sra Signor Signora Sir Dame Dra Dott Dottor Rabbi Imam Rev Reverend Justice Detective Inspector "
    "Lieutenant Lt Sgt Capt Col Pan Pani Pana Dhr Mevrouw Meneer Senhor Senhora Sensei".split()
)
LOWER_TITLES = frozenset(
    "signor signora signorina señor señora señorita senhor senhora dottor dottoressa monsieur madame pan pani meneer mevrouw herr frau don doña".split()
)
KIN = frozenset(
    "Uncle Aunt Auntie Grandma Grandpa Granny Cousin Tante Onkel Tía Tío Zia Zio Oma Opa Mamie Papi Brother Mama Baba".split()
)
RELATIVES = frozenset(
    "brother sister mother father wife husband son daughter aunt uncle cousin friend colleague neighbour neighbor boss partner boyfriend girlfriend grandmother "
    "grandfather grandson granddaughter nephew niece assistant lawyer doctor coworker co-worker roommate flatmate housemate teammate classmate fiancé fiancée fiance ex stepmother stepfather stepson stepdaughter mum mom dad kid baby "
    "twin toddler landlord landlady therapist teacher tutor manager supervisor mentor intern bff buddy mate "
    "frau mann bruder schwester tochter sohn freund freundin kollege kollegin chef nachbar nachbarin mutter vater "
    "femme mari frère soeur sœur fils fille ami amie collègue voisin voisine mère père "
    "esposa esposo marido hermano hermana hijo hija amigo amiga compañero compañera vecino vecina jefe jefa madre padre "
    "moglie marito fratello sorella figlio figlia amico amica collega vicino vicina capo irmão irmã filho filha vrouw broer zus zoon dochter vriend vriendin".split()
)
PERSONS = frozenset("man woman boy girl guy person someone somebody user lady gentleman child teenager patient".split())
OWNERS = frozenset(
    "my his her our their your mein meine meinen meiner meinem unser unsere sein seine ihr ihre mon ma mes son sa notre votre mi mis su nuestro nuestra il la mio mia suo sua meu minha seu nosso nossa mijn onze zijn haar".split()
)
"""Words that make someone a person's own: "my friend"."""
ROLES = frozenset(
    "attorney ceo cfo cto coo cmo cio vp director manager engineer designer developer accountant analyst actor actress author writer singer artist professor teacher "
    "student nurse doctor patient tenant landlord client customer defendant plaintiff witness applicant candidate employee colleague journalist detective officer agent "
    "driver chef coach founder co-founder cofounder president secretary chairman chairwoman chairperson spokesperson spokesman spokeswoman investigator researcher scientist poet physicist "
    "architect pilot captain recruiter supervisor intern lawyer therapist dentist surgeon physician midwife musician composer painter novelist historian economist "
    "activist politician reporter editor photographer programmer administrator consultant plumber electrician contractor technician instructor trainer "
    "owner contact lead resident guest passenger victim suspect complainant mathematician philosopher mayor governor senator player striker goalkeeper golfer "
    "kunde kundin mitarbeiter mitarbeiterin patientin geschäftsführer geschäftsführerin ansprechpartner ansprechpartnerin arzt ärztin "
    "cliente clienta paciente empleado empleada directora médico cliente avvocato paziente dottore professoressa élève docteur maître avocat avocate solicitor barrister paralegal notary broker realtor banker trustee executor successor predecessor widow widower guardian caregiver nanny babysitter pediatrician vet veterinarian dermatologist psychologist psychiatrist counselor counsellor pharmacist principal headmaster dean librarian bishop priest imam rabbi gardener mechanic carpenter builder hairdresser stylist waiter waitress bartender cashier clerk receptionist bookkeeper auditor translator interpreter publisher producer drummer guitarist rapper comedian presenter blogger swimmer runner cyclist boxer quarterback admiral trader analyst jugador jugadora abogado abogada médica profesor profesora ingeniero ingeniera presidente presidenta ministro ministra escritor escritora periodista advogado advogada médica engenheiro engenheira jogador jogadora diretor diretora écrivain écrivaine ingénieur ingénieure directeur directrice ministre président présidente joueur joueuse anwalt anwältin lehrer lehrerin schauspieler schauspielerin autorin ärztin leiter leiterin trainer trainerin spieler spielerin minister ministerin attore attrice giocatore giocatrice ingegnere professore".split()
)
LABELS = frozenset(
    "attendee attendees participant participants present reviewer reviewers reviewed-by signed-off-by co-authored-by acked-by tested-by reported-by driver nurse "
    "doctor physician patient tenant landlord interviewer interviewee witness witnesses applicant applicants candidate student students teacher ansprechpartner ansprechpartnerin assignee reporter requester "
    "recipient sender attn attention host guest guests speaker speakers organizer organiser chair approver employee supervisor instructor tutor signatory signer passenger "
    "beneficiary cardholder caller salesperson agent operator doctor surgeon therapist buyer seller borrower lender "
    "paciente empleado solicitante destinatario remitente destinataire expéditeur empfänger absender kontakt patientin mieter mieterin teilnehmer bewerber "
    "mitarbeiter inquilino inquilina alumno alumna medico paziente".split()
)
"""Before a colon, or the key of a field or the head of a column: of people alone."""
WEAK_LABELS = frozenset(
    "name nom nome nombre namn navn nimi imię naam prénom vorname nachname nombre apellido cognome author authors owner owners manager client customer contact from to cc bcc lead kunde kundin cliente auteur "
    "autor autora user member vendor supplier khách khach from: von van an de para by".split()
)
"""The same, but also of things, companies and departments."""

ASKED = 2.25
"""What people are that are asked, told or thanked."""
BEFORE: dict[str, float] = {
    **dict.fromkeys("ask asked asking tell told telling remind reminded remember invite invited thank thanked married hired".split(), ASKED),
    **dict.fromkeys(
        ("name is", "name's", "name is:", "ich heiße", "ich heisse", "name ist", "m'appelle", "m’appelle", "me llamo", "mi chiamo", "nome è", "nome é", "nombre es",
         "me chamo", "ik heet", "naam is", "nazywam się", "jag heter", "jeg heter", "jeg hedder", "nom est", "se llama", "si chiama", "s'appelle", "heißt", "c/o", "goes by"), 4.0),
    **dict.fromkeys(
        ("speak to", "speak with", "spoke to", "spoke with", "spoken to", "spoken with", "speaking to", "speaking with", "talk to", "talk with", "talked to", "talked with", "talking to", "ask for", "asked for",
         "interview with", "signed by", "chat with", "chatted with", "i met", "i saw", "i know", "i emailed", "i called", "behalf of", "attn", "married to", "interviewed by", "sprach mit", "gesprochen mit", "parlé avec", "hablé con", "parlato con"), 3.0),
    **dict.fromkeys(
        ("email", "emailed", "emailing", "call", "called", "calling", "text", "texted", "message", "messaged", "ping", "pinged",
         "contact", "contacted", "contacting", "meet", "met", "meeting", "notify", "notified", "inform", "informed",
         "interviewed", "introduce", "check with", "work with", "works with", "worked with", "reply to", "write to", "wrote to", "respond to", "forward to", "this to", "it to", "hear from",
         "heard from", "email from", "message from", "letter from", "call from", "email to", "letter to", "message to", "note to", "assigned to", "reports to", "report to", "assign to", "belongs to",
         "according to", "written by", "letter by", "report by", "approved by", "requested by", "opened by", "created by", "submitted by", "prepared by", "filed by", "authored by", "represented by", "chaired by", "led by", "managed by",
         "said", "says", "replied", "wrote", "sagte", "schrieb", "dijo", "dit", "disse", "zei", "soy", "fragt", "frag", "dile a", "pregunta a", "dis à", "demande à", "with attorney", "cc'd", "assign", "thanks", "congrats", "welcome", "signed"), 2.0),
    **dict.fromkeys(("named", "called", "i am", "i'm", "i’m", "this is", "je suis", "ich bin", "ik ben", "jestem", "sono", "sou", "contact is", "it's", "hier ist", "aquí"), 1.5),
    **dict.fromkeys(
        ("with", "for", "from", "by", "to", "and", "or", "that", "if", "when", "because", "but", "while", "since", "as", "until", "about", "than", "let", "think", "hope", "where", "whether", "see", "saw", "made", "gave", "give", "send",
         "mit", "von", "für", "und", "dass", "avec", "pour", "et", "que", "con", "para", "y", "e", "com", "met", "voor", "de", "per", "after", "before", "like", "help", "helped", "does", "did", "is", "was", "has", "had", "can", "could", "should", "will", "would", "do"), 0.5),
    **dict.fromkeys(("in", "at", "near", "visit", "visited", "visiting", "around", "across", "via", "of", "à", "en", "aus", "nach", "bei"), -0.5),
    **dict.fromkeys(("an", "a", "use", "using", "install", "run", "import", "class", "const", "let", "var", "function", "def", "new", "into", "versus", "vs", "and/or", "with a", "project", "operation", "codename", "using"), -2.0),
    **dict.fromkeys(("the", "this", "that the", "der", "die", "das", "le", "el", "los", "les", "another", "every", "each"), -2.5),
    **dict.fromkeys(
        ("read", "reading", "watch", "watched", "watching", "listened to", "listening to", "listen to", "streamed", "novel", "film", "movie", "book", "play", "series", "show", "song", "album", "opera",
         "musical", "game", "episode", "band", "brand", "restaurant", "store", "hotel", "hurricane", "storm", "typhoon", "language", "framework", "library", "tool", "model", "app", "called the", "company", "firm", "startup",
         "library called", "class called", "method called", "tool called", "file named", "file called", "function called", "app called", "language called", "city of", "town of", "county of", "university of", "state of", "lake", "mount", "river", "film called",
         "island of", "port of", "saint", "santa", "san", "st.", "mount", "fort", "lake", "cape", "visit", "trip to", "flight to", "flew to", "travel to", "moved to", "lives in", "live in", "lived in", "based in", "born in", "flying to", "drive to", "movie called", "module", "package", "called is", "variable"), -3.0),
}  # fmt: skip
"""The last one to three words before a name, in lower case -> points."""

SAYS = frozenset(
    "said says told tells asked asks wrote writes replied replies answered explained mentioned smiled laughed nodded agreed insisted apologised apologized complained emailed e-mailed phoned texted messaged pinged "
    "lives lived moved joined attended graduated married resigned retired sagte schrieb fragte meinte dijo escribió preguntó disse chiese zei vroeg moved thinks thought believes admitted added whispered shouted cried sighed wohnt".split()
)
"""What people do and things do not, after a name."""
ACTS = frozenset(
    "works worked lavora approved reviewed confirmed requested submitted reported left manages managed leads led wants wanted needs needed prefers knows knew forgot promised suggested signed "
    "sent sends visited finished started filed opened closed fixed is was will would has had can could should might must did does didn't doesn't won't isn't hasn't can't wasn't couldn't wouldn't loves likes hates keeps tried plans denies "
    "presents presented takes took got gets went came made gave bought ordered paid booked passed died teaches studies plays played handles handled called calls signed testified pleaded ist hat war wird kann möchte arbeitet est "
    "travaille habite veut es tiene quiere vive trabaja è ha vuole heeft wil also never always just still already usually often really scheduled noticed wrote responded accepted declined refused stayed arrived returned enjoys cooked drove ran feels felt owes owns lost found".split()
)
"""The same, but not only people do it."""
BELONGS = frozenset(
    "email e-mail laptop birthday husband wife mother father brother sister son daughter phone request account house car address team manager desk office lecture report message question idea "
    "mom mum dad kids family friend boss contract resume cv application feedback comment pr ticket order salary visa passport wedding number calendar class room shift invoice mail reply letter".split()
)
"""What a person has: "Priya's laptop"."""
GREETINGS = frozenset(
    "dear hi hello hey hiya liebe lieber hallo cher chère bonjour hola estimado estimada caro cara ciao salut gentile cześć hej hei moin hoi dag hejsan terve aloha namaste merhaba selam ahoj witam dzień szia olá oi prezado prezada beste geachte servus querida querido bonsoir howdy morning afternoon evening".split()
)
CLOSINGS = frozenset(
    "regards best cheers thanks sincerely yours love grüße grüßen gruß lg mfg cordialement saludos saluti atentamente abraços pozdrawiam groeten groet mvh hälsningar hilsen bisous you truly faithfully wishes bien advance xoxo signed respectfully".split()
)
"""The last word of the line before a signature."""
FAMILY_FIRST = frozenset(
    "Li Wang Zhang Chen Liu Yang Zhao Huang Zhou Wu Xu Sun Hu Zhu Lin He Guo Ma Luo Nguyen Nguyễn Tran Trần Pham Phạm Hoang Phan Vu Dang Bui Lê Kim Choi Jung Kang Cho Yoon Jang Lim Park Lee Tan Shin Seo Kwon".split()
)
NAMES_THING = frozenset(
    "the The Santa San Saint St St. Puerto Porto Santo São Sri Lake Mount Mt Mt. Fort Port New Los Las Cape River Monte Apache Project Hurricane Team Operation Hotel Café Restaurant Radio Universität Université Universidad".split()
)
NO_PERSON = frozenset(
    (
        "Morgan Stanley|Charles Schwab|Johns Hopkins|Jack Daniel|Jack Daniels|Harley Davidson|Louis Vuitton|Hugo Boss|Calvin Klein|Ralph Lauren|Tommy Hilfiger|Marc Jacobs|Michael Kors|Mary Kay|Ernst Young|"
        "Warner Bros|Carnegie Mellon|Alfa Romeo|Mercedes Benz|Monte Carlo|Eli Lilly|Wells Fargo|Ben Jerry|John Deere|Max Planck|Dow Jones|Jim Beam|Johnnie Walker|Betty Crocker|Philip Morris|Jane Doe Inc|Martin Luther|"
        "Goldman Sachs|Lorem Ipsum|Yves Saint Laurent|Dolce Gabbana|Tiffany Co|Laura Ashley|Ray Ban|Uncle Ben|Aunt Jemima|Dr Pepper|Mr Robot|Mr Bean|Mrs Doubtfire|Captain America|Captain Morgan|Captain Marvel|Doctor Who|Doctor Strange|"
        "Father Christmas|Uncle Sam|Uncle Bob|Mother Nature|Paul Smith Ltd|Harry Potter|Sherlock Holmes|Mickey Mouse|Romeo Juliet|Jack Sparrow|Robin Hood|Peter Pan|Peter Rabbit|James Bond|Jane Eyre|Anna Karenina|Don Quixote|Charlie Brown|Santa Claus|Oliver Twist|David Copperfield|Emma Bovary"
    ).split("|")
)
"""Companies, brands and figures that are named as people are."""


@cache
def given_names() -> frozenset[str]:
    """The offline list of given names."""
    return frozenset(GIVEN_LIST.read_text("utf-8").split())


@cache
def family_names() -> frozenset[str]:
    """The offline list of surnames, without those that are mostly other words."""
    return frozenset(FAMILY_LIST.read_text("utf-8").split())
