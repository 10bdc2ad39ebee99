"""Words with capitals that are of no name: what a thing, a place or an office is called, and what only begins a sentence or a heading."""

from __future__ import annotations

THINGS = frozenset(
    "Street Road Avenue Lane Drive Park City County Island Islands Bay River Lake Hill Hills Valley Beach Square Bridge Airport Station University "
    "College School Hospital Museum Church Cathedral Tower Hotel Inc Ltd Corp GmbH LLC Company Group Bank Studio Studios Code Cloud Server Office Windows Coast Falls Mountains Mountain Desert "
    "Day Week Month Year Weekend Award Awards Prize Theorem Law Laws Effect Test Tests Testing Disease Syndrome Foundation Institute Center Centre Stadium Arena World Building House Palace Castle Temple Gallery Theatre Theater Library "
    "Kingdom States State Republic Ocean Sea North South East West Testament Bible Version Edition Series Show Framework Language Province District Region Territory "
    "Access Complete Period Pond Garden Gardens Sponge Cake Cream Forest Press Media Foods Motors Airlines Airways Software Systems System Technologies Technology Labs Lab Records Times Post Act Line Rule Rules Score Index Curve "
    "Boss Vuitton Deere Engine Machine Project Plan Plans Report Reports Table Figure Page Pages Section Button Menu File Files Folder Settings Mode Search Login Token Key Keys Value Data Filter Filters Transform "
    "Network Networks Tree Bayes Benz Romeo Card Account Accounts Store Shop Market Plaza Mall Cup League Model Models Method Algorithm Process Theory Number Numbers Distribution Team Teams Club "
    "Squad Department Division Unit Committee Council Board Agency Ministry Court Union Party Army Navy Association Society Federation Authority Commission Parliament Congress Senate Government "
    "Service Services Support Sales Marketing Finance Engineering Operations Security Success Resources Relations Management Administration Development Research Design Product Products Production Platform Backend Frontend "
    "Books Book Magazine Journal News Review Guide Manual Handbook Chapter Volume Story Stories Tale Song Album Film Movie Game Games Channel Network Radio Podcast Blog Website Site App Apps Application "
    "Manager Director Engineer Developer Analyst Designer Scientist Architect Administrator Officer Assistant Specialist Consultant Coordinator Executive Representative Owner Lead Head Chief Founder "
    "Field Fields Button Form Input Output Error Errors Warning Notes Note Release Update Status Issue Issues Ticket Tickets Order Orders Invoice Payment Payments Request Response Session Secret Client Class Object Function Variable String Integer Float "
    "Array List Dictionary Module Package Interface Database Schema Query Queries Cache Queue Worker Job Jobs Pipeline Build Deploy Deployment Container Cluster Node Nodes Proxy Gateway Endpoint Webhook Callback Backup Pull Push Commit Branch Merge "
    "Salad Soup Sauce Pizza Pie Bread Cheese Chicken Beef Fish Wine Beer Coffee Tea Chair Table Desk Shirt Jeans Dress Shoes Boots Bag Phone Watch Camera Ring "
    "Action Actions Cycle Simulation Equation Matrix Vector Space Law Principle Paradox Scale Syndrome Protocol Standard Program Programme Protection Policy Policies Agreement Contract Terms Conditions Privacy License Fund Funds Capital Partners Holdings "
    "Ventures Insurance Energy Power Solutions Consulting Industries International Global National Federal Central American European British German French Spanish Italian English Chinese Japanese Korean Indian Russian African Asian "
    "Warehouse Factory Plant Terminal Port Harbor Harbour Line Express Train Bus Flight Tour Trip Travel Tours Memorial Monument Statue Festival Parade Marathon Championship Tournament Open Trophy Bowl "
    "Green Red Blue Black White Yellow Orange Purple Brown Pink Grey Gray Gold Silver Bronze Basic Premium Pro Plus Standard Enterprise Free Beta Alpha Delta "
    "Learning Intelligence Reality Computing Programming Analysis Analytics Statistics Mathematics Physics Chemistry Biology History Science Art Arts Music Literature Philosophy Economics Psychology "
    "Field Trip Step Steps Level Levels Stage Phase Round Part Parts Item Items Quarter Budget Forecast Revenue Profit Cost Costs Price Prices Tax Income Loan Credit Debit Mortgage Meeting Standup Agenda Summary Overview Introduction Conclusion Appendix Background Results Discussion "
    "Morning Evening Night Afternoon Birthday Christmas Easter Halloween Thanksgiving Holiday Holidays Sunrise Sunset War Battle Revolution Crisis Treaty Pact Accord Doctrine Manifesto Speech Petals Chains Saga Chronicles "
    "Straße Platz Weg Gasse Universität Bahnhof Flughafen Brücke Kirche Schloss Rue Place Pont Gare Université Calle Plaza Universidad Banco Via Piazza Ponte "
    "Springs Rapids Gorge Creek Canyon Peak Point Glacier Reef Strait Peninsula Plateau Heights Village Town Estate Manor Abbey Chapel Cemetery Pier Dock Wharf Terrace Crescent Mews Junction Crossing Tunnel Canal Dam Reservoir Circuit "
    "Speedway Pavilion Aquarium Zoo Observatory Laboratory Medical Hospice Academy Seminary Kindergarten Fever Virus Inequality Conjecture Hypothesis Lemma Constant Operator Integral Polynomial Sequence Regression Classifier Kernel "
    "Estimator Sampling Identity Criterion Correlation Coefficient Diagram Guitars Amplifier Motorcycle Motorcycles Burger Sandwich Whiskey Whisky Vodka Chocolate Pudding Collection Perfume Jewelry Cosmetics Medal Fellowship Scholarship "
    "Lecture Lectures Symposium Trust Charity Realty Properties Homes Construction Plumbing Electric Associates Sons Brothers Bros Co Plc Logistics Pharma Pharmaceuticals Robotics Catering Entertainment Pictures Publishing Publishers "
    "Orchestra Quartet Trio Ensemble Choir "
    "Bakery Café Cafe Restaurant Pharmacy Salon Boutique Clinic Grill Bar Pub Kitchen Deli Winery Brewery Farm Ranch Gym Spa Diner Bistro "
    "Google Microsoft Amazon Apple Facebook Meta Twitter Netflix Tesla OpenAI Oracle Salesforce Uber Airbnb Paypal Stripe Slack Zoom Alexa Siri Cortana Claude Gemini Copilot Docker Python Java Javascript Linux Ubuntu Android Chrome Firefox Excel Word Outlook Powerpoint "
    "Jira Figma Kubernetes Postgres Redis Kafka Spark Hadoop Airflow Terraform Ansible Samsung Sony Nokia Toyota Honda Ford Volkswagen Siemens Bosch Nike Adidas Walmart Ikea Spotify Youtube Instagram Whatsapp Telegram Tiktok Linkedin".split()
)
"""A run of words that ends with one of these, or a name before one, is no person."""

STOPS = frozenset(
    "The This That These Those It He She We They You I In On At To Of For From And But Or If When What Who How Why Where Which While Whose Please New San Los Las "
    "Santa Saint Fort Mount Visual United Great Question Dear Hi Hello Hey Sir Madam All Everyone Everybody Colleagues Friends Folks Customer Customers User Users Guest Member Reader Both "
    "There Valued Ladies Gentlemen Students Parents Good Happy Best Kind Thanks Thank Yes No Not Our My Your His Her Their Its A An As By Is Are Was Were Has Have Had Can Could Will Would Should May Might Must Do Does Did "
    "With About After Before Because Since Then Than So Also Just Only Never Always Now Today Tomorrow Yesterday Here Let Lets Hiring Human Key Quick Getting Started "
    "January February March April May June July August September October November December Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec "
    "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag Januar Februar März Juni Juli Oktober Dezember Lunes Martes Lundi Mardi Mercredi Jeudi Vendredi "
    "Call Ask Tell Email Text Message Ping Contact Meet See Show Send Give Get Make Write Read Open Close Click Select Choose Enter Type Use Using Run Start Stop Add Remove Delete Create Edit Save Load Copy Move Find Replace Check Set Reset Enable Disable "
    "Install Uninstall Download Upload Import Export Submit Approve Reject Assign Review Fix Mark Mute Block Share Follow Join Leave Invite Notify Remind Schedule Cancel Confirm Verify Test Try Explain Describe Summarize Translate Compare List Generate Draft Rewrite Reply Forward Note Subject "
    "From To Cc Bcc Re Fw Fwd Attn Name Names Title Date Time Id Url Http Https Json Xml Html Css Sql Api Ok Okay Sure Sorry Congrats Congratulations Welcome Cheers Regards Sincerely Yours Signed Called Named Born Ship Deliver Bill Signed Unsigned First Second Third Last Next Previous Final Total "
    "Long Short Big Small High Low Old Hot Cold Full Empty Deep Random Naive Late Early Fresh Main Public Private Local Remote Internal External Personal Professional General Special Senior Junior Available Required Optional Advanced Ultimate Modern Classic Digital Smart Real True False Null None Anonymous Unknown Default Sample Example Demo Testing "
    "Der Die Das Den Dem Des Ein Eine Und Oder Aber Wenn Wir Sie Ich Du Er Es Ihr Mein Dein Sein Unser Ist Sind War Bitte Danke Le La Les Un Une Et Ou Il Elle Nous Vous Je Tu Est Sont Merci El Los Las Una Uno Y O Yo Él Ella Nosotros Es Son Por Para Gracias Lo Gli Una Ma Noi Voi Sono Os As Um Uma Eu Ele Ela Het Een De En Ik Hij Zij "
    "Account Black White Red Nobel Cyber Golden Grand Royal Cross Half Double Single Multi Mega Super Landing Root Bad Top Bottom Left Right Front Back Side Inner Outer Upper Lower Middle Daily Weekly Monthly Annual Yearly Nightly Hourly Online Offline Active Inactive Pending Blocked".split()
)
"""Words that begin no name; the name ends before them."""

QUALIFIERS = frozenset(
    "Great Grand Golden Royal Nobel Cyber Cross Red Black White United New Good Happy Best Kind Long Short Big Small High Low Old Hot Cold Full Empty Deep Random Naive Late Early Fresh Main Public "
    "General Special Senior Junior Modern Classic Digital Smart Real True False Sample Example Demo Testing Mega Super Multi".split()
)
"""Of these, those that stand before what a thing is called."""

LOWER_THINGS = frozenset(word.lower() for word in THINGS) - frozenset(
    "lead head is act plans test report reports note notes call phone".split()
)
