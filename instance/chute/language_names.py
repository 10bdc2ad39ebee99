"""English names of languages by their ISO 639-1 codes."""

from __future__ import annotations

_NAMES = (
    "af Afrikaans,am Amharic,an Aragonese,ar Arabic,as Assamese,az Azerbaijani,be Belarusian,bg Bulgarian,bn Bengali,br Breton,"
    "bs Bosnian,ca Catalan,cs Czech,cy Welsh,da Danish,de German,dz Dzongkha,el Greek,en English,eo Esperanto,es Spanish,"
    "et Estonian,eu Basque,fa Persian,fi Finnish,fo Faroese,fr French,ga Irish,gl Galician,gu Gujarati,he Hebrew,hi Hindi,"
    "hr Croatian,ht Haitian Creole,hu Hungarian,hy Armenian,id Indonesian,is Icelandic,it Italian,ja Japanese,jv Javanese,"
    "ka Georgian,kk Kazakh,km Khmer,kn Kannada,ko Korean,ku Kurdish,ky Kyrgyz,la Latin,lb Luxembourgish,lo Lao,lt Lithuanian,"
    "lv Latvian,mg Malagasy,mk Macedonian,ml Malayalam,mn Mongolian,mr Marathi,ms Malay,mt Maltese,nb Norwegian Bokmål,ne Nepali,"
    "nl Dutch,nn Norwegian Nynorsk,no Norwegian,oc Occitan,or Odia,pa Punjabi,pl Polish,ps Pashto,pt Portuguese,qu Quechua,"
    "ro Romanian,ru Russian,rw Kinyarwanda,se Northern Sami,si Sinhala,sk Slovak,sl Slovenian,so Somali,sq Albanian,sr Serbian,"
    "sv Swedish,sw Swahili,ta Tamil,te Telugu,tg Tajik,th Thai,tl Tagalog,tr Turkish,ug Uyghur,uk Ukrainian,ur Urdu,uz Uzbek,"
    "vi Vietnamese,vo Volapük,wa Walloon,xh Xhosa,yi Yiddish,yo Yoruba,zh Chinese,zu Zulu"
)
NAMES: dict[str, str] = dict(entry.split(" ", 1) for entry in _NAMES.split(","))


def name_of(code: str) -> str:
    """The language's name, or what a model understands as well."""
    return NAMES.get(code, f"the language with the ISO 639-1 code {code!r}")
