"""Words that add no fact by themselves: a statement may hold them though the reference does not."""

from __future__ import annotations

LIGHT = frozenset(
    # English: what joins, hedges, counts roughly, refers back, and verbs that need a noun to say something
    "according actually additionally again ago almost alone along although among amount anyone anything apart approximately area around aside available away back based basically "
    "because become becomes became begin below beside besides between beyond bit both bring brings broadly brought by called calling came care case cases cause certain circa come comes coming "
    "concerned concerning consequently contains comprise comprises consist consists count counts couple course cover covers covered current currently day days depending describes described despite "
    "different doing done due during each either else end entire especially essentially even ever every exactly exist exists explains explained fact far feature features few finally find finds follow "
    "following follows former formerly found fully further furthermore gave general generally get gets getting give given gives giving go goes going gone good got happen happened happens having held help helps "
    "hence hold holds however immediately important indeed instead involves involved item items keep keeps kept kind know known last later latter least leave left less let level lies like likely likewise located long look looks "
    "lot made main mainly make makes making manage many matter mean means meanwhile mention mentioned mentions merely might moment moreover much must namely near nearly need needed needs new next nobody "
    "note notes number numbers occur occurred occurs offer offers often ok ones only onto option originally other others otherwise ought overall own part parts particular particularly people per perhaps person "
    "place placed plus point possible possibly present presently previously primarily prior probably produce provide provided provides put quite range rate rather reach reached reaches really receive received "
    "receives recent recently reference refers regarding related remain remains report reported reports respectively result results roughly run runs said same say says see seem seems seen serve serves set sets "
    "several shall shortly show shown shows simply since single small so some somebody someone something sometimes somewhat soon sort specific specifically stand stands stated states stay stays still such sure take "
    "takes taken taking tell tells than thanks therefore thing things though through throughout thus time times till today together told too took toward towards try turn turns type under unless until unlike use used uses using usually "
    "value various versus via way ways went well what whatever when whenever where whereas wherever whether whole whose why within without work works worth year years yes yet "
    "adds asks asked author authors details document e.g i.e info information mentions named offered order possess possesses question responsible room sentence source specified start started starting starts statement summary text total totals want wants wanted works "
    "able agree agrees agreed allow allowed allows amounts anyway anymore applies apply back behind cannot certainly check decide decided expected fall falls get gotten happy hear hour hours ideally include included includes including instance keep leads lie list listed longer lower maximum minimum minute minutes month months "
    "more most move moves neither nor none never nothing number once pass passes plan planned plans please purpose purposes refer require required requires second seconds since start sum support supports week weeks "
    # who and what any text may be about
    "niños niño niñas kinder kind enfants enfant bambini children child adults "
    "user users customer customers client clients visitor visitors guest guests company firm business organisation organization team staff member members participant participants product products goods price prices cost costs service services "
    "default defaults package device devices version system data file files list amount daily total sends send sent visit choose chosen select selected increase owner "
    # German
    "aber alle allem allen aller alles als also andere anderen anderer anderes auch ausserdem außerdem bei beide beiden beim bereits besonders bestehen besteht betragen beträgt bevor bezüglich bis bitte bleibt bleiben brauchen braucht "
    "bzw circa ca dabei dadurch dafür dagegen daher damit danach dann daran darauf daraus darf dürfen darüber darum davon davor dazu derzeit deshalb dieser diese dieses diesem diesen doch dort durch ebenfalls eigentlich einige erfolgt "
    "erhalten erhält erst etwa etwas ganz geben gegen gehören gehört geht gelten gemäß genau gibt gilt haben hat hatte hatten hier hin ihm ihn ihnen immer inklusive innerhalb insgesamt ja jede jeden jeder jedes jedoch jetzt kam kann kommen kommt können laut liegen liegt lag machen macht mal man "
    "mehr meist mindestens höchstens möglich müssen muss neue neuen neu noch nun nur ob oder ohne pro rund schon sehr sein seit seine seinen seiner sich sobald sogar sollen soll sollte somit sonst sowie statt stehen steht sodass stellt stammt "
    "über um unter viel viele vom vor während wann wegen weil weiter weitere weiteren weniger wenn wer wie wieder will wo wollen worden wurde wurden zahl zahlt zudem zusammen zusätzlich zwar zwischen dabei drin jahr jahre jahren monat monate tag tage tagen woche wochen stunde stunden findet statt "
    # French
    "afin ainsi alors année années ans après aucun aucune aujourd'hui auprès aussi autre autres aux avant avoir avait ont bien car cela celle celui ces cet cette ceux chaque chez comme contre depuis dès deux devant doit doivent donc dont dure durée elles encore "
    "entre environ être eu faire fait font faut fois grâce heure heures hors ici jour jours jusque jusqu'à là laquelle lequel leur leurs lors lorsque mais mois même mêmes moins notamment nous on où par parce pendant permet peu peut peuvent plus plusieurs possible possède pour pourquoi près presque prend "
    "puis puisque quand que quel quelle quelques qui quoi sans selon semaine semaines sera seront ses seul seulement si sont sous soit tous tout toute toutes très trouve va vers voici voilà vont vous total maximum minimum nombre personnes celles rien jeunes personne gens "
    # Spanish
    "además ahora algo algunos alguna ante antes año años aquí así aún aunque bajo bien cada casi como contra cual cuando cuanto cuenta debe deben desde después día días donde durante ella ellas ellos entre era eran esa ese eso está están estar esta este esto estos estas fue fueron gran "
    "ha han hace hacer hacia hasta hay hora horas hubo incluso junto lo llegó llegaron luego más mediante menos mes meses mientras mismo misma mucho muchos muy nada ni ningún ninguna nos nuevo nueva nunca otra otro otros otras para pero poco podrá poder porque pueden puede pues que quien se según semana semanas ser será serán si "
    "sido siempre sin sobre solo sólo son su sus también tanto tener tiene tienen toda todas todo todos total tras tuvo unos unas ya menos dice dijo "
    # Italian, Portuguese, Dutch
    "alla alle anche ancora anni anno che chi ci circa come con cui da dagli dai dal dalla degli dei del della delle dello di dopo dove due durante era erano essere fa fino fra gli ha hanno il inoltre invece io loro ma meno mentre mese mesi molto ne negli nei nel nella nelle nessuno noi non ogni oggi oltre ora ore per perché "
    "però più poi presso prima proprio può possono quale quando quanto quella quelle quello questa questo quindi se secondo sempre senza si sia siamo solo sono sopra sotto stata stati stato su sua sue sugli sui sul sulla suo suoi tra tutta tutte tutti tutto un una uno verso viene giorni giorno settimana settimane arrivato persone "
    "ainda além algum alguma ano anos antes ao aos apenas após até cada com como da das de depois dia dias dos e ela ele eles em entre era essa esse esta está este foi foram há isso já lhe mais mas mês meses mesmo muito na nas nem no nos não num numa o os ou pela pelas pelo pelos pode podem por porque qual quando que quem são "
    "se seja sem ser será seu seus sob sobre sua suas também tem têm ter toda todas todo todos um uma umas vai "
    "aan alle alleen als bij dan dat deze dit door dus een en er geen haar had hebben heeft het hij hoe hun in is ja jaar jaren kan kunnen maar maand maanden meer met moet moeten na naar niet nog nu of om omdat onder ook op over per te tegen tot uit van veel voor waar was wat week weken wel werd worden wordt ze zich zij zijn zo zonder zou zullen".split()
)
