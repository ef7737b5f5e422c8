"""Names and roles of the people and animals that stories are about."""

from __future__ import annotations

_CHILDREN = """
    Lily f, Tom m, Mia f, Ben m, Sara f, Leo m, Anna f, Max m, Lucy f, Sam m, Ella f, Jack m, Nora f, Tim m, Ruby f,
    Finn m, Zoe f, Noah m, Clara f, Otto m, Ivy f, Hugo m, Maya f, Oscar m, Rosa f, Theo m, Emma f, Felix m, Nina f,
    Jonas m, Hana f, Omar m, Priya f, Diego m, Amina f, Kenji m, Ingrid f, Mateo m, Leila f, Arthur m, Wendy f,
    Rafi m, Greta f, Luca m, Freya f, Milo m, Tessa f, Emil m, Odette f, Kofi m, Zara f, Pablo m, Elsie f, Anton m,
    Beatrix f, Rowan m, Yuki f, Walter m, Flora f, Edgar m, Matilda f, Ravi m, Agnes f, Piet m, Dora f, Simon m,
    Imani f, Gus m, Fatima f, Victor m, Hattie f, Lars m, Olive f, Bruno m, Selma f, Jasper m, Winnie f, Karim m,
    Alma f, Cosmo m, Josie f, Nils m, Paloma f, Ezra m, Thea f, Ivan m, Marigold f, Quentin m, Sunniva f, Tobias m,
    Esme f, Ludo m, Bianca f, Caspar m, Henrietta f, Dmitri m, Pearl f, Abel m, Ottilie f, Stefan m, Vera f, Amos m,
    Juniper f, Rufus m, Celeste f, Ferdinand m, Wilma f, Basil m, Dagny f, Linus m, Petra f, Hamish m, Lottie f,
    Cyrus m, Mabel f, Ansel m, Nell f, Igor m, Sunny f, Barnaby m
"""

_ELDERS = """
    mother f Mama, father m Papa, grandmother f Granny, grandfather m Grandpa, aunt f Auntie, uncle m Uncle
"""

_FOLK = """
    Mrs. Plum f, Mr. Bell m, Mrs. Hill f, Mr. Finch m, Mrs. Green f, Mr. Stone m, Miss Wren f, Mr. Potter m,
    Mrs. Marsh f, Mr. Oakley m, Miss Fern f, Mr. Brook m, Mrs. Hazel f, Mr. Cobb m, Mrs. Lamb f, Mr. Winter m,
    Miss Berry f, Mr. Pike m, Mrs. Dove f, Mr. Thatcher m, Miss Lark f, Mr. Crumb m, Mrs. Moss f, Mr. Lund m,
    Mrs. Okoro f, Mr. Haddad m, Miss Silva f, Mr. Novak m, Mrs. Tanaka f, Mr. Rossi m, Miss Varga f, Mr. Kaur m,
    Mrs. Button f, Mr. Pepper m, Miss Honeywell f, Mr. Drake m, Mrs. Quill f, Mr. Barley m, Miss Tuttle f, Mr. Snow m
"""

_TRADES = """
    baker, farmer, gardener, teacher, tailor, cook, carpenter, sailor, painter, fisherman/fishermen, nurse, doctor,
    shoemaker, bus driver, beekeeper, librarian, postman/postmen, potter, miller, blacksmith, clockmaker, shepherd,
    toymaker, weaver, musician, lamplighter, chimney sweep, fruit seller, train driver, lighthouse keeper, juggler,
    candlemaker, hatmaker, plumber, firefighter, vet, bookbinder, basket maker, cheesemaker, ferryman/ferrymen,
    street sweeper, kite maker, astronomer, puppeteer
"""

_CRITTERS = """
    Pip m, Bramble f, Nutmeg f, Biscuit m, Clover f, Pebble m, Poppy f, Bobbin m, Tansy f, Thimble f, Moss m, Dot f,
    Rusty m, Willow f, Peanut m, Maple f, Toffee m, Primrose f, Barley m, Snowdrop f, Acorn m, Whisker m, Velvet f,
    Hopper m, Sorrel f, Tumble m, Minnow f, Crumpet m, Dewdrop f, Fidget m, Cinnamon f, Burdock m, Tuppence f,
    Patch m, Saffron f, Scamp m, Mallow f, Radish m, Twig m, Posy f, Gizmo m, Feather f, Noodle m, Muffin f
"""

_ANIMAL_FRIENDS = (
    "rabbit, mouse/mice, squirrel, hedgehog, mole, badger, fox, otter, hare, dormouse/dormice, beaver, weasel"
)

_DRAGONS = """
    Ember m, Cinder f, Smoulder m, Scorch m, Flicker f, Ash m, Ignatius m, Sparky m, Soot m, Saffira f, Grumble m, Zinnia f
"""

_TOY_NAMES = """
    Mr. Buttons m, Flopsy f, Captain Fluff m, Rags m, Dolly f, Old Stuffing m, Wobble m, Tatters f, Patches f,
    General Wool m, Lady Velvet f, Squeak m
"""

_WANDERERS = "Jorik m, Wim m, Old Tam m, Peregrine m, Lena f, Hob m, Marta f, Till m, Jonah m, Ursula f"

_ELDER_NAMES = """
    Granny f, Grandpa m, Aunt May f, Uncle Joe m, Aunt Sofia f, Uncle Ned m, Aunt Clementine f, Uncle Albert m,
    Great-Aunt Hilda f, Great-Uncle Oswald m, Aunt Poppy f, Uncle Raj m, Nana f, Old Cousin Bert m
"""

LISTS = {
    "person": {
        "children": _CHILDREN,
        "elders": _ELDERS,
        "folk": _FOLK,
        "critters": _CRITTERS,
        "kids": "girl f, boy m",
        "elder_names": _ELDER_NAMES,
        "wanderers": _WANDERERS,
        "dragons": _DRAGONS,
        "toy_names": _TOY_NAMES,
        "siblings": "sister f, brother m",
    },
    "noun": {
        "trades": _TRADES,
        "woodlanders": _ANIMAL_FRIENDS,
        "fire_trades": """
            blacksmith, baker, cook, glassblower, potter, candlemaker, chimney sweep, firefighter
        """,
        "rich_people": "mayor, banker, judge, governor, duke, merchant, landlord, baron",
        "menders_trades": "clockmaker, blacksmith, locksmith, jeweller, music box maker, watchmaker",
    },
    "phrase": {
        "traits": """
            little, kind, curious, brave, quiet, cheerful, clever, careful, gentle, shy, busy, merry, thoughtful,
            lively, patient, stubborn, dreamy, friendly, polite, playful, bold, sleepy, noisy, honest, hopeful,
            tidy, messy, freckled, restless, eager, generous, forgetful, nimble, hungry, proud, daring
        """,
        "virtues": "honest, good, kind, clever, fine, brave, wonderful, remarkable, sensible, splendid",
        "giants": "Gundula, Grimhild, Big Berta, Ulla, Brunhilda, Moll, Hulda, Thunder Tess",
        "robots": "Bolt, Tock, Beep, Rivet, Sprocket, Zip, Clank, Gizzle, Pling, Widget, Dob",
        "manners": """
            fat, thin, sleepy, tiny, huge, young, old, cheerful, grumpy, lame, curious, shy, wet, muddy, fluffy, dusty,
            hungry, tame, merry, lazy, proud, clever, quiet, noisy, lonely, little
        """,
        "flavours": """
            big, fresh, sweet, small, fine, tasty, lovely, enormous, plump, perfect, delicious, round,
            splendid, tiny
        """,
        "blooms": "tall, old, young, small, crooked, slender, wild, lovely, early, late, lonely, dark",
        "moods": "rainy, quiet, long, dark, windy, warm, short, sleepy, cold, noisy, lazy, late",
        "ages": "three, four, five, six, seven, eight, nine",
        "numbers": "two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, twenty",
        "happy": """
            happy, glad, cheerful, proud, light-hearted, thankful, pleased, merry, excited, content, joyful, grateful,
            lucky, surprised
        """,
        "sad": """
            sad, unhappy, sorry, gloomy, upset, miserable, lonely, disappointed, downhearted,
            low, wretched
        """,
        "scared": "scared, afraid, frightened, nervous, worried, uneasy, alarmed, timid",
        "tired": "tired, sleepy, weary, worn out, drowsy, exhausted",
        "softly": """
            softly, quietly, gently, kindly, slowly, calmly, politely, sweetly, shyly, warmly, carefully, patiently,
            solemnly, tenderly
        """,
        "quickly": """
            quickly, at once, eagerly, happily, briskly, merrily, cheerfully, proudly, gladly, bravely
        """,
    },
}
