"""Places, and the spots in them where things are lost, hidden, and found."""

from __future__ import annotations

_OUTINGS = """
    in the park, in the garden, in the meadow, at the beach, in the orchard, on the hill, at the pond, in the field,
    in the playground, at the riverbank, in the backyard, on the village green, at the old mill, in the vineyard,
    by the lake, in the schoolyard, on the farm, at the fairground, by the canal, in the pasture, in the clover field,
    at the harbour
"""

_TOWN = """
    at the market, in the square, at the bakery, at the library, at the post office, at the bus stop, at the fountain,
    at the train station, at the toy shop, at the town hall, at the flower stall, at the bookshop, at the museum,
    at the swimming pool, at the barber's shop, on the bridge, at the bandstand, at the fire station,
    at the sweet shop, at the skating rink, at the hat shop, at the corner shop, at the clock tower, at the zoo
"""

_WILD = """
    in the forest, in the meadow, by the brook, on the hill, in the valley, by the pond, in the reeds, in the hollow,
    by the waterfall, in the heather, in the marsh, at the crossroads, in the glade, on the cliff, in the thicket,
    by the millstream, in the bracken, on the moor
"""

_ROOMS = """
    in the kitchen, in the bedroom, in the attic, in the hall, in the cellar, in the bathroom, in the living room,
    in the pantry, in the workshop, in the nursery, in the laundry room, on the porch, in the playroom, in the study
"""

_SPOTS_OUT = """
    under the bench, behind the shed, in the tall grass, under the hedge, behind the big oak, beside the well,
    under the wheelbarrow, by the gate, behind the woodpile, in the flower bed, under the slide, near the beehives,
    among the nettles, behind the stone wall, under the picnic table, inside the hollow log, beside the compost heap,
    between the cabbages, under the swing, behind the water barrel, in the ditch, beneath the rose bush,
    on the stepping stones, under a pile of leaves, by the scarecrow
"""

_SPOTS_IN = """
    under the bed, behind the curtain, on the shelf, under the rug, in the cupboard, behind the door, in the laundry basket,
    under the table, on the windowsill, behind the clock, in the coal scuttle, under the cushions, inside the teapot,
    in the bread bin, behind the stove, between the books, on top of the wardrobe, under the stairs, in the umbrella stand,
    behind the sofa, in the top drawer, under the piano, inside a boot, in the toy chest, beside the radiator
"""

_HOMES = """
    in a little house by the river, at the edge of a village, in a tall house with a blue door, on a small farm,
    above a bakery, in a town by the sea, on a quiet street, at the foot of a mountain, in a cottage with a mossy roof,
    on a houseboat, next to a windmill, behind the church, near the railway, at the top of a steep lane,
    in a house full of clocks, across from the fire station, in a narrow street with crooked chimneys,
    on an island with one shop, beside a plum orchard, over a shoe shop
"""

_DENS = """
    in a hollow log, under the roots of an oak, in a cosy burrow, beneath a hedge, under a garden shed,
    in a hole by the brook, behind a waterfall, in a nest of dry leaves, under an upturned boat, beside a mossy wall,
    below the blackberry bushes, inside an old boot, at the edge of the wheat field, in a bank full of primroses
"""

_LANDS = """
    Norway, Peru, Kenya, Italy, Japan, Brazil, Ireland, Egypt, Poland, India, Mexico, Greece, Iceland, Morocco, Portugal,
    Finland, Ghana, Chile, Korea, Turkey, Vietnam, Scotland
"""

LISTS = {
    "place": {"outings": _OUTINGS, "town": _TOWN, "wild": _WILD, "rooms": _ROOMS},
    "phrase": {
        "spots_out": _SPOTS_OUT,
        "spots_in": _SPOTS_IN,
        "homes": _HOMES,
        "dens": _DENS,
        "lands": _LANDS,
        "star_places": """
            the duck pond, the hay, a flower bed, the rain barrel, the cabbage patch, a heap of leaves, the
            sandpit
        """,
        "up_places": """
            the church tower, the highest hill, a haystack, the lighthouse, the roof of the school, the old
            oak
        """,
        "shelf_spots": """
            between the sugar and the salt, next to the rolling pin, over the oven, behind the flour, above
            the door
        """,
    },
}
