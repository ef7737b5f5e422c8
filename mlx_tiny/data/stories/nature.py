"""Animals (by where they live and how they move), plants, and the sky."""

from __future__ import annotations

_SMALL_ANIMALS = """
    rabbit, mouse/mice, squirrel, hedgehog, fox, mole, badger, otter, hare, raccoon, chipmunk, beaver, dormouse/dormice,
    weasel, ferret, porcupine, hamster, guinea pig, shrew, marmot, bear cub, fawn, kitten, puppy, lamb, piglet, skunk
"""

_BIG_ANIMALS = """
    bear, horse, cow, elephant, lion, moose/moose, ox/oxen, bull, stag, giraffe, rhino, camel, wolf/wolves, buffalo,
    hippo, gorilla, tiger, boar, zebra, walrus, yak, bison
"""

_BIRDS = """
    robin, sparrow, owl, crow, swallow, blackbird, wren, magpie, pigeon, duck, thrush, woodpecker, stork, heron, jay,
    finch, starling, raven, lark, cuckoo, gull, kingfisher, nightingale, dove, hawk, parrot, goldfinch, bluebird
"""

_BUGS = """
    bee, ant, butterfly, beetle, ladybird, cricket, spider, snail, moth, grasshopper, dragonfly, caterpillar, worm,
    firefly, bumblebee, earwig, centipede, gnat
"""

_POND = "frog, duck, newt, toad, turtle, swan, goose/geese, water rat, moorhen, tadpole, heron, pike, carp/carp"

_FARM = """
    cow, pig, sheep/sheep, goat, hen, horse, donkey, goose/geese, duck, rooster, pony, turkey, lamb, calf/calves, mule
"""

_SEA = """
    crab, whale, dolphin, seal, octopus, starfish/starfish, gull, lobster, sea horse, jellyfish/jellyfish, turtle,
    pelican, penguin, shrimp/shrimp, eel, cod/cod
"""

_PETS = """
    dog, cat, rabbit, puppy, kitten, hamster, guinea pig, parrot, goat, pony, duck, lamb, terrier, spaniel,
    piglet, sheepdog, donkey, goose
"""

_TREES = """
    oak, apple tree, willow, pine, birch, pear tree, maple, cherry tree, chestnut tree, elm, fir, plum tree, beech,
    walnut tree, poplar, linden, rowan, cedar, hazel, alder
"""

_FLOWERS = """
    daisy, rose, tulip, sunflower, bluebell, violet, poppy, buttercup, snowdrop, lily, dandelion, pansy, daffodil,
    marigold, primrose, crocus, foxglove, cornflower, forget-me-not, clover, peony, hyacinth, lavender, iris
"""

LISTS = {
    "noun": {
        "small_animals": _SMALL_ANIMALS,
        "big_animals": _BIG_ANIMALS,
        "birds": _BIRDS,
        "songbirds": """
            robin, sparrow, swallow, blackbird, wren, thrush, finch, lark, starling, nightingale, bluebird
        """,
        "bugs": _BUGS,
        "pond_animals": _POND,
        "farm_animals": _FARM,
        "sea_animals": _SEA,
        "pets": _PETS,
        "trees": _TREES,
        "flowers": _FLOWERS,
        "fishes": """
            trout/trout, perch/perch, goldfish/goldfish, carp/carp, salmon/salmon, minnow, pike, eel,
            sardine
        """,
        "winged": """
            butterfly, bee, moth, dragonfly, ladybird, bumblebee, firefly, gnat, swallow, sparrow, robin,
            wren
        """,
        "dogs": "dog, puppy, terrier, spaniel, sheepdog, poodle, dachshund, cat, kitten, greyhound",
        "thumb_animals": "mouse/mice, shrew, vole, dormouse/dormice, wren, ladybird, bat",
        "tiny_animals": """
            mouse/mice, shrew, vole, dormouse/dormice, field mouse/field mice, harvest mouse/harvest mice,
            gerbil
        """,
        "hoarders": "squirrel, hamster, chipmunk, marmot, red squirrel, dormouse/dormice",
        "babies": "baby frog, baby wren, little newt, young vole, baby mouse, tiny toad, baby shrew, moth",
        "pond_wise": "frog, toad, carp/carp, heron, turtle, water rat, moorhen, pike",
        "spring_flowers": "snowdrop, crocus, primrose, violet, daffodil, bluebell, cowslip, anemone",
        "big_birds": "swan, goose/geese, heron, stork, eagle, crane, owl",
        "fast_animals": "hare, fox, deer/deer, swallow, rabbit, horse, dragonfly, greyhound",
        "night_animals": "hedgehog, badger, fox, raccoon, cow, goat, hare, donkey, sheep/sheep, owl",
        "shadow_animals": """
            rabbit, swan, dog, crocodile, snail, goose/geese, horse, spider, dragon, camel, bird,
            wolf/wolves
        """,
        "night_birds": "owl, nightjar, barn owl, nightingale, crane, wild goose/wild geese",
        "night_hunters": "cat, hedgehog, owl, fox, toad, badger, weasel, marten, rat",
        "hungry_animals": "goat, pig, cow, camel, llama, donkey, hippo, ram",
        "barkers": "seal, walrus, donkey, dog, goose/geese, old horse, crow, bullfrog, sheep/sheep",
        "pullers": "horse, pony, ox/oxen, big dog, donkey, mule, elephant",
        "climbers": "squirrel, cat, monkey, raccoon, marten, chipmunk, lizard, bear cub",
        "layers": """
            hen, duck, goose/geese, swan, turtle, robin, ostrich, owl, crocodile, penguin, stork, pelican,
            turkey
        """,
        "sleepers": """
            bear, hedgehog, dormouse/dormice, badger, marmot, groundhog, raccoon, skunk, chipmunk, field
            mouse/field mice
        """,
    },
    "phrase": {
        "seasons": "spring, summer, autumn, winter",
        "warm_months": "May, June, July, August, April, September",
        "spring_months": "March, April, May",
        "autumn_months": "September, October, November",
        "cold_months": "December, January, February, November",
        "weekdays": "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday",
        "parts": "morning, afternoon",
        "bright": """
            sunny, warm, bright, breezy, golden, mild, clear, windy, hot, cloudless, balmy, lovely,
            beautiful
        """,
        "grim": "grey, rainy, foggy, chilly, stormy, damp, gloomy, drizzly, misty, dull, blustery",
        "icy": "snowy, frosty, icy, freezing, cold, white, bitter, crisp",
        "smells": """
            cut grass, fresh bread, rain, pine needles, wild roses, warm hay, wood smoke, wet earth, ripe apples, mint,
            lilac, honey, salt, oranges, thyme
        """,
        "noises": """
            a dog barking, a bell ringing, someone singing, a door banging, a cart rattling, a cow mooing,
            an owl hooting, children laughing, a gate creaking, a rooster crowing, a fiddle playing, a baby crying,
            a train whistling, somebody hammering, bees humming, a donkey braying, a kettle whistling, geese honking
        """,
        "sleek": "white, grey, black, snowy, silver, dusty, wet, ruffled",
        "tracks": "hoofprint, round footprint, deep print, muddy print, row of prints, heart-shaped print",
        "big_sounds": "roar, moan, howl, groan, sob, bellow, cry",
        "creature_sounds": """
            squeak, rustle, crack, snort, sneeze, thump, crunch, sniff, munching sound, scrape
        """,
    },
}
