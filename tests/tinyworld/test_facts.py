import datetime
import re
import unicodedata
from collections import Counter, defaultdict

import pytest
from babel import Locale
from babel.languages import get_official_languages
from babel.numbers import get_territory_currencies
from world_reference import FOLDER, KINDS, LANGUAGES, read_table, things

from tutorial_lib.tinyworld.facts import RELATIONS, TABLES, load_entities

STATE_OF_THE_FACTS = datetime.date(2026, 1, 1)
ENGLISH, CHINESE = Locale("en"), Locale("zh")

# What CLDR calls otherwise: our name -> its code.
TERRITORY_CODES = {
    "Democratic Republic of the Congo": "CD",
    "East Timor": "TL",
    "Ivory Coast": "CI",
    "Myanmar": "MM",
    "Republic of the Congo": "CG",
    "Saint Vincent and the Grenadines": "VC",
    "Turkey": "TR",
}
LANGUAGE_CODES = {
    "Bengali": "bn",
    "Dhivehi": "dv",
    "Kirundi": "rn",
    "Nauruan": "na",
    "Sesotho": "st",
    "Slovene": "sl",
    "Swazi": "ss",
    "Tuvaluan": "tvl",
}
CURRENCY_CODES = {
    "Bosnia and Herzegovina convertible mark": "BAM",
    "Botswana pula": "BWP",
    "Guyanese dollar": "GYD",
    "Kyrgyzstani som": "KGS",
    "Lao kip": "LAK",
    "Tongan pa'anga": "TOP",
    "United States dollar": "USD",
    "Zimbabwe Gold": "ZWG",
    "pound sterling": "GBP",
    "renminbi": "CNY",
}

# Where the tables mean to differ from CLDR 47; the reason is in the row's note and in SOURCES.md.
LANGUAGE_EXCEPTIONS = {
    "Burkina Faso": "Mossi",  # national languages are official since 2023-2024
    "Comoros": "Comorian",  # CLDR lists its dialects (zdj, wni)
    "Mali": "Bambara",  # the national languages are official since the constitution of 2023
    "Montenegro": "Montenegrin",  # CLDR files it under Serbian
    "Niger": "Hausa",  # the national language since the charter of 2025
    "Seychelles": "Seychellois Creole",  # one of three; CLDR has the other two
}
CURRENCY_EXCEPTIONS = {
    "Bulgaria": "euro"  # since 1 January 2026
}
CHINESE_NAME_EXCEPTIONS = {  # the everyday name, where CLDR has a longer one or one with brackets
    "Democratic Republic of the Congo": "刚果民主共和国",
    "Dominican Republic": "多米尼加",
    "Republic of the Congo": "刚果共和国",
    "United Arab Emirates": "阿联酋",
}
CHINESE_VALUE_EXCEPTIONS = {  # other usual transcriptions than CLDR's
    "Bosnia and Herzegovina convertible mark": "波黑可兑换马克",
    "Chinese": "汉语",
    "Indonesian rupiah": "印度尼西亚盾",
    "Kirundi": "基隆迪语",
    "Korean": "朝鲜语",
    "Kyrgyz": "吉尔吉斯语",
    "Macedonian denar": "北马其顿代纳尔",
    "Malagasy": "马达加斯加语",
    "Maldivian rufiyaa": "马尔代夫拉菲亚",
    "Mozambican metical": "莫桑比克梅蒂卡尔",
    "Myanmar kyat": "缅元",
    "Sesotho": "塞索托语",
    "Sierra Leonean leone": "塞拉利昂利昂",
    "Tigrinya": "提格雷尼亚语",
}


@pytest.fixture(scope="module")
def entities():
    return load_entities()


@pytest.fixture(scope="module")
def countries():
    return read_table("countries.csv")


def plain(name: str) -> str:
    """Lower case, without accents: "Côte" and "Cote" are one."""
    letters = "".join(
        letter
        for letter in unicodedata.normalize("NFKD", name)
        if not unicodedata.combining(letter)
    )
    return letters.casefold().replace("&", "and").replace("st. ", "saint ")


def codes_by_name(names) -> dict[str, str]:
    return {plain(name): code for code, name in names.items()}


def territory_code(name: str) -> str:
    countries_only = {
        code: name for code, name in ENGLISH.territories.items() if re.fullmatch("[A-Z]{2}", code)
    }
    return TERRITORY_CODES.get(name) or codes_by_name(countries_only)[plain(name)]


def language_code(name: str) -> str | None:
    return LANGUAGE_CODES.get(name) or codes_by_name(ENGLISH.languages).get(plain(name))


def currency_code(name: str) -> str | None:
    return CURRENCY_CODES.get(name) or codes_by_name(ENGLISH.currencies).get(plain(name))


# ---------------------------------------------------------------- size and shape


def test_the_world_is_as_large_as_promised(entities):
    counts = Counter(entity.kind for entity in entities)
    assert len(entities) >= 450
    assert len(RELATIONS) >= 12
    assert counts["country"] >= 150
    assert counts["province"] == 34
    assert counts["element"] == 118


def test_every_row_of_the_tables_is_loaded_as_it_stands(entities):
    expected = things()
    assert [entity.id for entity in entities] == list(expected)
    for entity in entities:
        thing = expected[entity.id]
        assert (entity.kind, entity.name, entity.in_sentence) == (
            thing.kind,
            thing.name,
            thing.in_sentence,
        )
        assert entity.values == thing.values, entity.id


def test_every_entity_has_a_value_for_each_relation_of_its_kind_in_both_languages(entities):
    for entity in entities:
        assert [relation for relation, kind in RELATIONS.items() if kind == entity.kind] == list(
            entity.values
        )
        assert all(set(values) == set(LANGUAGES) for values in entity.values.values())


def test_ids_are_unique(entities):
    assert len({entity.id for entity in entities}) == len(entities)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_belongs_to_one_entity_only(entities, language):
    for names in [
        [entity.name[language].casefold() for entity in entities],
        [entity.in_sentence[language].casefold() for entity in entities],
    ]:
        assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("filename", [filename for filename, _ in KINDS.values()])
def test_no_cell_is_empty_padded_or_a_placeholder(filename):
    for number, row in enumerate(read_table(filename), start=2):
        assert None not in row, f"{filename}, line {number}: more cells than columns"
        for column, cell in row.items():
            where = f"{filename}, line {number}, {column}: {cell!r}"
            assert cell is not None, where
            assert cell == cell.strip(), where
            assert not re.search(r"[\n\r\t\u00a0\u200b\ufeff\ufffd]|\s\s", cell), where
            if column not in ("note", "article_en"):
                assert cell, where
                assert not re.search(r"[{}<>?？|]|\.\.\.|…", cell), where
                assert cell.casefold() not in {
                    "todo",
                    "tbd",
                    "n/a",
                    "none",
                    "null",
                    "nan",
                    "unknown",
                    "-",
                    "无",
                    "不详",
                    "待定",
                }, where


def test_chinese_cells_are_chinese_and_english_cells_are_not():
    for filename, _ in KINDS.values():
        for row in read_table(filename):
            for column, cell in row.items():
                has_chinese = any(
                    unicodedata.name(letter, "").startswith("CJK UNIFIED") for letter in cell
                )
                if column.endswith("_zh"):
                    assert has_chinese, (filename, row["id"], column)
                elif column.endswith("_en"):
                    assert not has_chinese, (filename, row["id"], column)


# Two cities of the world share a Chinese name.
SHARED_CHINESE_VALUES = {("country_capital", "金斯敦")}


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_value_has_one_chinese_and_one_english_form(entities, relation):
    english, chinese = defaultdict(set), defaultdict(set)
    for entity in entities:
        if relation in entity.values:
            value = entity.values[relation]
            english[value["zh"]].add(value["en"])
            chinese[value["en"]].add(value["zh"])
    assert {
        zh: en
        for zh, en in english.items()
        if len(en) > 1 and (relation, zh) not in SHARED_CHINESE_VALUES
    } == {}
    assert {en: zh for en, zh in chinese.items() if len(zh) > 1} == {}


def test_the_sources_count_the_rows_right():
    sources = (FOLDER / "facts" / "SOURCES.md").read_text(encoding="utf-8")
    counted = {
        filename: int(rows)
        for filename, rows in re.findall(r"^\| `(\w+\.csv)` \| (\d+)", sources, flags=re.MULTILINE)
    }
    assert counted == {filename: len(read_table(filename)) for filename, _ in TABLES.values()}


# ---------------------------------------------------------------- common knowledge


def test_elements_are_numbered_from_1_to_118_and_have_symbols_of_their_own():
    rows = read_table("elements.csv")
    assert sorted(int(row["number"]) for row in rows) == list(range(1, 119))
    assert len({row["symbol"] for row in rows}) == 118
    assert all(re.fullmatch("[A-Z][a-z]?", row["symbol"]) for row in rows)
    assert all(len(row["name_zh"]) == 1 for row in rows)


@pytest.mark.parametrize(
    ("filename", "column", "pattern"),
    [
        ("us_states.csv", "abbreviation", "[A-Z]{2}"),
        ("provinces.csv", "abbreviation_en", "[A-Z]{2}"),
        ("provinces.csv", "abbreviation_zh", "."),
    ],
)
def test_abbreviations_have_their_form_and_are_unique(filename, column, pattern):
    abbreviations = [row[column] for row in read_table(filename)]
    assert [text for text in abbreviations if not re.fullmatch(pattern, text)] == []
    assert len(set(abbreviations)) == len(abbreviations)


def test_each_season_has_six_solar_terms_and_each_month_two():
    rows = read_table("solar_terms.csv")
    assert Counter(row["season_en"] for row in rows) == dict.fromkeys(
        ["spring", "summer", "autumn", "winter"], 6
    )
    assert set(Counter(row["month_zh"] for row in rows).values()) == {2}
    assert len({row["month_zh"] for row in rows}) == 12
    first = {row["name_zh"]: row["season_zh"] for row in rows if row["name_zh"].startswith("立")}
    assert first == {"立春": "春季", "立夏": "夏季", "立秋": "秋季", "立冬": "冬季"}


def test_animals_of_a_class_have_a_possible_number_of_legs():
    possible = {
        "amphibian": {4},
        "arachnid": {8},
        "bird": {2},
        "crustacean": {10, 14},  # Decapoda; a woodlouse has seven pairs
        "fish": {0},
        "insect": {6},
        "mammal": {0, 4},
        "reptile": {0, 4},
    }
    for row in read_table("animals.csv"):
        assert int(row["legs"]) in possible[row["class_en"]], row["id"]


def test_an_animal_has_the_article_of_its_first_sound():
    # No name among them begins with a vowel letter that sounds like a consonant ("unicorn"), or
    # the reverse ("hour").
    for row in read_table("animals.csv"):
        assert row["article_en"] == ("an" if row["name_en"][0] in "aeiou" else "a"), row["id"]


# ---------------------------------------------------------------- countries in Unicode's CLDR


def test_countries_have_the_chinese_names_of_cldr(countries):
    for row in countries:
        expected = {
            CHINESE.territories[territory_code(row["name_en"])],
            CHINESE_NAME_EXCEPTIONS.get(row["name_en"]),
        }
        assert row["name_zh"] in expected, row["name_en"]


def test_no_two_rows_are_the_same_country(countries):
    codes = [territory_code(row["name_en"]) for row in countries]
    assert len(set(codes)) == len(codes)


def test_the_official_language_of_a_country_is_among_those_of_cldr(countries):
    wrong = {}
    for row in countries:
        official = get_official_languages(territory_code(row["name_en"]), de_facto=True)
        codes = {code.split("_")[0] for code in official}
        if (
            language_code(row["language_en"]) not in codes
            and LANGUAGE_EXCEPTIONS.get(row["name_en"]) != row["language_en"]
        ):
            wrong[row["name_en"]] = (row["language_en"], official)
    assert wrong == {}


def test_the_currency_of_a_country_is_among_those_of_cldr(countries):
    wrong = {}
    for row in countries:
        tender = get_territory_currencies(
            territory_code(row["name_en"]), start_date=STATE_OF_THE_FACTS
        )
        if (
            currency_code(row["currency_en"]) not in tender
            and CURRENCY_EXCEPTIONS.get(row["name_en"]) != row["currency_en"]
        ):
            wrong[row["name_en"]] = (row["currency_en"], tender)
    assert wrong == {}


def test_languages_and_currencies_have_the_chinese_names_of_cldr(countries):
    wrong = {}
    for row in countries:
        for english, chinese, code, names in [
            (
                row["language_en"],
                row["language_zh"],
                language_code(row["language_en"]),
                CHINESE.languages,
            ),
            (
                row["currency_en"],
                row["currency_zh"],
                currency_code(row["currency_en"]),
                CHINESE.currencies,
            ),
        ]:
            if code in names and chinese not in (
                names[code],
                CHINESE_VALUE_EXCEPTIONS.get(english),
            ):
                wrong[english] = (chinese, names[code])
    assert wrong == {}
