"""Things, by what can be done with them: toys, clothes, food, tools, things that roll or break."""

from __future__ import annotations

_TOYS = """
    ball, doll, kite, drum, toy train, teddy bear, spinning top, wooden horse, toy boat, puppet, toy car, rag doll,
    skipping rope, hoop, toy soldier, wagon, yo-yo, toy rabbit, music box, jack-in-the-box/jack-in-the-boxes, toy duck,
    toy elephant, pinwheel, toy castle, marble, toy tractor, bow and arrow/bows and arrows, toy lion, rattle,
    toy drum, toy whale, paper crown, toy penguin, toy owl, toy rocket, toy dragon, tin robot, toy giraffe
"""

_CARRIED_TOYS = """
    ball, doll, teddy bear, spinning top, wooden horse, toy boat, toy car, rag doll, yo-yo, toy rabbit, whistle, toy duck,
    toy elephant, toy soldier, toy lion, toy whale, toy penguin, toy owl, tin robot, toy dragon, toy giraffe, toy fox,
    toy turtle, toy crocodile, knitted lamb
"""

_TREASURES = """
    button, key, coin, ring, shell, marble, feather, whistle, bead, locket, pebble, thimble, medal, brooch, compass,
    acorn, buckle, little bell, silver spoon, magnet, ribbon, pocket watch/pocket watches, bracelet, chestnut,
    hand mirror, seashell, pine cone, paintbrush, music box, spyglass, stamp, badge, glass eye, tin star, charm
"""

_LOSABLES = """
    key, ring, whistle, locket, thimble, compass, brooch, bracelet, little bell, pocket watch/pocket watches, purse,
    silver spoon, medal, glove, notebook, spyglass, harmonica, pen, ladle, bookmark, hairbrush, magnifying glass
"""

_CLOTHES = """
    hat, scarf/scarves, coat, cap, mitten, boot, shoe, sock, glove, shawl, cloak, apron, sweater, jacket, bonnet, vest,
    slipper, cape, dress, shirt, belt, sandal, bow tie, raincoat, nightcap, waistcoat, cardigan, skirt
"""

_HATS = "hat, cap, scarf/scarves, bonnet, straw hat, top hat, woolly hat, bow tie, shawl, kerchief, sun hat, nightcap"

_TOOLS = """
    hammer, spade, rake, saw, ladder, rope, bucket, brush, shovel, broom, wheelbarrow, watering can, paintbrush, net,
    needle, lantern, hoe, screwdriver, basket, trowel, wrench, pump, fishing rod, hand drill, file, mallet, sieve,
    measuring tape, crowbar, pulley
"""

_BREAKABLES = """
    cup, plate, jug, vase, teapot, bowl, mug, glass, clay pot, lamp, saucer, mirror, sugar bowl, butter dish, milk jug,
    flowerpot, candlestick, picture frame, egg cup, cookie jar, china dog, glass swan, gravy boat
"""

_CONTAINERS = """
    box, basket, bag, jar, chest, sack, tin, drawer, trunk, bucket, barrel, suitcase, pouch, crate, hatbox, bottle
"""

_FRUITS = """
    apple, pear, plum, peach, orange, banana, cherry, fig, strawberry, apricot, melon, lemon, mango, blackberry,
    raspberry, grape, blueberry, kiwi, tangerine, pineapple, quince, coconut, gooseberry
"""

_VEGETABLES = """
    carrot, potato/potatoes, onion, turnip, pumpkin, cabbage, leek, radish, beet, tomato/tomatoes, mushroom, bean, pea,
    cucumber, parsnip, corn cob, pepper, squash, marrow
"""

_BAKED = """
    cake, pie, bun, cookie, muffin, tart, roll, pancake, waffle, biscuit, pretzel, scone, doughnut, loaf of rye/loaves of rye,
    gingerbread man/gingerbread men, loaf of bread/loaves of bread, cherry pie, apple pie, honey cake, plum tart, jam roll, cinnamon bun,
    lemon cake, seed cake, croissant, cupcake, dumpling, oatcake
"""

_SNACKS = """
    apple, bun, cookie, pear, sandwich, muffin, slice of cake/slices of cake, plum, pretzel, piece of cheese/pieces of
    cheese, biscuit, banana, pancake, boiled egg, bread roll, jam tart, handful of nuts/handfuls of nuts, orange, peach,
    rice ball, cheese roll, honey cake, carrot, handful of berries/handfuls of berries
"""

_DISHES = """
    soup, stew, porridge, rice, noodles, beans, pudding, dumplings, pancakes, toast, pea soup, mashed potatoes,
    fried eggs, fish pie, vegetable pie, macaroni, lentils, corn bread, potato salad, tomato soup, baked apples
"""

_DRINKS = """
    milk, tea, cocoa, lemonade, apple juice, ginger tea, warm milk, cold water, mint tea, plum juice, honey tea,
    hot chocolate, orange juice, barley water
"""

_INGREDIENTS = """
    flour, butter, sugar, honey, milk, cinnamon, salt, yeast, jam, cream, vanilla, ginger, cocoa, raisins, syrup, oats
"""

_INSTRUMENTS = """
    drum, flute, fiddle, trumpet, horn, harp, whistle, guitar, banjo, accordion, tuba, tambourine, cello, trombone,
    harmonica, bell, triangle, xylophone, ukulele, clarinet, oboe, mandolin
"""

_VEHICLES = "bicycle, cart, wagon, sled, scooter, tricycle, raft, rowing boat, go-cart, wheelbarrow, tractor, van"

_EMBLEMS = """
    star, moon, heart, sun, flower, fish/fish, bird, anchor, crown, tree, leaf/leaves, boat, cat, bee, snail, rabbit,
    horse, owl, rainbow, butterfly, mushroom, swan, whale, key, castle, ladybird, snowflake, acorn, dragon, shell
"""

_FURNITURE = """
    bed, table, chair, sofa, cupboard, desk, bench, bookcase, stove, wardrobe, armchair, bathtub, piano, dresser, stool
"""

_LITTER = """
    paper bag, bottle cap, old leaf/old leaves, candy wrapper, flowerpot, tin can, bit of string/bits of string,
    broken cup, lost sock, bus ticket, torn poster, scrap of cloth/scraps of cloth, garden glove, plastic spoon
"""

LISTS = {
    "noun": {
        "toys": _TOYS,
        "small_toys": _CARRIED_TOYS,
        "treasures": _TREASURES,
        "losables": _LOSABLES,
        "clothes": _CLOTHES,
        "hats": _HATS,
        "tools": _TOOLS,
        "breakables": _BREAKABLES,
        "containers": _CONTAINERS,
        "fruits": _FRUITS,
        "vegetables": _VEGETABLES,
        "baked": _BAKED,
        "snacks": _SNACKS,
        "instruments": _INSTRUMENTS,
        "vehicles": _VEHICLES,
        "emblems": _EMBLEMS,
        "furniture": _FURNITURE,
        "litter": _LITTER,
        "coats": "coat, cloak, overcoat, sweater, jacket, raincoat, cape, apron, vest, cardigan, waistcoat",
        "wheels": "bicycle, scooter, tricycle",
        "built": "house, tower, castle, palace, ship, fort, cabin",
        "shoes": "shoe, boot, sandal, slipper, clog, sock",
        "shared_toys": """
            swing, seesaw, kite, wagon, hoop, scooter, rocking horse, sled, go-cart, drum, tricycle, toy
            ship
        """,
        "menders": """
            hammer, screwdriver, brush, saw, wrench, needle, rope, file, hand drill, pot of glue/pots of
            glue
        """,
        "hooks": """
            hook, needle, longer thread, thicker thread, round button, bit of patience/bits of patience
        """,
        "prizes": "ribbon, cup, medal, crown, flag, wreath, hat, belt, bicycle bell",
        "rollers2": "ball, hoop, marble, toy train, spinning top, yo-yo, toy car, wagon, skipping rope",
        "pets_wanted": "puppy, kitten, lamb, duckling, piglet, foal, goat, rabbit, goose/geese, donkey",
        "hill_gifts": """
            pine cone, feather, pressed flower, cowbell, acorn, carved deer/carved deer, jar of honey/jars
            of honey, round stone
        """,
        "sea_gifts": """
            shell, starfish/starfish, glass float, piece of driftwood/pieces of driftwood, bottle of
            sand/bottles of sand, sea snail
        """,
        "pebbles": "pebble, shell, bead, button, bottle cap, chip of glass/chips of glass, snail shell",
        "nuts": "acorn, hazelnut, walnut, chestnut, beechnut, pine nut, almond",
        "pretty_bits": """
            ribbon, bead, button, blade of gold straw/blades of gold straw, shell, tin star, feather, flower
        """,
        "stones": "stone, molehill, tree stump, log, mushroom, flowerpot, milestone, pumpkin",
        "envelopes": """
            letter, postcard, note, rolled-up leaf/rolled-up leaves, telegram, folded paper/folded papers
        """,
        "carts": "van, wagon, handcart, farm cart, donkey cart, fruit cart",
        "cart_names": """
            Swallow, Thunder, Star, Arrow, Lightning, Dolphin, Comet, Grasshopper, Duchess, Pelican,
            Whirlwind, Falcon
        """,
        "big_vegetables": "pumpkin, turnip, cabbage, cucumber, marrow, squash, beet, melon",
        "pouches": "pouch, matchbox, thimble, drawer, jar, envelope, eggcup",
        "holders": "cup, bottle, saucer, jam jar, lantern, egg cup, flowerpot",
        "throwables": "ball, orange, pine cone, potato/potatoes, glove, apple, snowball, bread roll",
        "poles": "fishing rod, broom, rake, long ladder, beanpole, clothes line, flagpole, umbrella",
        "soft_toys": """
            teddy bear, toy rabbit, rag doll, toy lion, knitted lamb, toy elephant, toy fox, toy duck,
            puppet, toy penguin
        """,
        "fences": "fence, hedge, gate, wall, roof, chimney, haystack, henhouse, woodshed",
        "high_things": """
            ladder, roof, church tower, hill, windmill, chimney, poplar, lighthouse, mountain, haystack,
            flagpole
        """,
        "wind_toys": """
            pinwheel, kite, paper boat, weathercock, balloon, paper lantern, streamer, little windmill, wind
            chime
        """,
        "royal_things": "crown, ring, cup, sword, chain, spoon, cushion, goblet",
        "sheets": "sheet, tablecloth, curtain, sail, blanket, bedspread",
        "tubs": "tub, barrel, bathtub, rain barrel, wash boiler, horse trough, milk churn",
        "tins": """
            tin, bucket, kettle, biscuit tin, watering can, milk can, teapot, coffee pot, lunch box/lunch
            boxes
        """,
        "cakes": """
            plum cake, cherry pie, apple tart, nut loaf/nut loaves, lemon roll, cheese bread, apricot
            strudel, pizza, quiche
        """,
        "small_fruits": """
            cherry, plum, grape, strawberry, fig, apricot, blueberry, gooseberry, raspberry, blackcurrant,
            walnut, crab apple
        """,
        "bags": "bag, suitcase, rucksack, basket, satchel, handbag, hatbox, travelling bag",
        "seats": "chair, sofa, stool, bench, armchair, bed, rug, footstool",
        "ropes": """
            rope, chain, hook, bolt, padlock, bit of wire/bits of wire, piece of string/pieces of string
        """,
        "crumbs": """
            crumb, bean, nut, raisin, seed, ear of wheat/ears of wheat, slice of apple/slices of apple
        """,
        "diggers": """
            spade, shovel, trowel, pickaxe, bucket, big spoon, lamp, sieve, pair of gloves/pairs of gloves
        """,
        "rollers": """
            ball, hoop, marble, barrel, wheel, orange, pumpkin, cheese, melon, cabbage, coin, tire,
            snowball, bowl
        """,
        "parcels": """
            parcel, letter, package, envelope, postcard, hamper, little box/little boxes, bundle, note
        """,
    },
    "phrase": {
        "dishes": _DISHES,
        "drinks": _DRINKS,
        "ingredients": _INGREDIENTS,
        "colours": """
            red, blue, green, yellow, white, orange, purple, brown, pink, black, grey, golden, silver, violet, scarlet,
            turquoise, crimson, lilac, cream-coloured, rust-red, indigo, sky-blue, emerald
        """,
        "patterns": """
            striped, spotted, checked, speckled, plain, dotted, flowered, patched, zigzag, starry, painted,
            shiny
        """,
        "conditions": """
            old, new, small, tiny, shiny, dusty, battered, pretty, crooked, heavy, lovely, odd, rusty, splendid, faded,
            smooth, scratched, handsome, funny, plain, curious, polished, sturdy, delicate, worn
        """,
        "materials": """
            wooden, tin, clay, paper, glass, stone, copper, iron, silver, straw, brass, leather, velvet,
            ivory
        """,
        "furs": "black, white, grey, ginger, striped, brown, spotted, silver, sandy",
        "gem_colours": "red, blue, green, golden, silver, purple",
        "spring_colours": "white, yellow, purple, blue, pink",
        "egg_patterns": """
            brown spots, tiny stars, white stripes, speckles, silver dots, black rings, a white tip,
            freckles
        """,
        "fields": "field, meadow, wood, world, hill, clearing, garden",
        "strong_colours": "red, blue, green, purple, orange, pink, violet, crimson, turquoise",
        "few": "two, three, four, five",
        "dragon_breath": """
            a little smoke, a puff of steam, a few bubbles, warm air, a cloud of soot, a smell of toast
        """,
        "riddles": """
            nobody can buy, grows when you share it, two can hold but one cannot, is broken by a lie, weighs nothing and
            carries you far, you have to give before you can keep it, gets stronger with the years
        """,
        "fine_stuff": "silk, velvet, goose feathers, gold cloth, satin, swansdown, lambswool",
        "big_numbers": """
            ten thousand, a million, nine hundred, four thousand, a hundred thousand, six thousand
        """,
        "remedies": """
            honey, ginger, elderberry jam, peppermint, thyme, lemon syrup, cloves, camomile, rose-hip jam
        """,
        "clean": "clean, as good as new, cleaner than before, oiled and wiped, spotless, without a scratch",
        "feasts": """
            summer fair, harvest feast, lantern feast, apple fair, spring fair, goose fair, winter market,
            boat feast
        """,
        "hours": "four o'clock, five o'clock, six o'clock, half past five, a quarter to six, half past six",
        "ordinals": "second, third, fourth, fifth, sixth, seventh, tenth",
        "skills": """
            whistle, sing, dance, juggle, yodel, drum, tell jokes, walk on stilts, do cartwheels, hiccup,
            play the spoons
        """,
        "last_ones": """
            a boy on crutches, a girl with a cello on her back, an old man with a goose, the baker with a
            tray of rolls, a toddler, a girl who walked on her hands
        """,
        "games": """
            tag, hide-and-seek, hopscotch, marbles, leapfrog, catch, checkers, dominoes, pirates, skittles, cards,
            blind man's buff, chess, pat-a-cake, knights and dragons, snap
        """,
    },
}
