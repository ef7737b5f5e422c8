"""Scenes between set-up and payoff, with people and things that a reader must not confuse with those of the plot."""

from __future__ import annotations

INTERLUDE = """
[!From [somewhere|far off|the distance|the other side of the hill] came the sound of {_noise=noises}. [{hero}
    listened until it was over.|Then it was quiet again.|It made {hero} feel less alone.|{hero} wondered
    [who|where] that might be.]
|[{hero} thought of {his} last birthday|{hero} remembered last {_season=seasons}|{hero} thought of the
    holidays], when there had been {a _baked=baked} and {a _colour=colours} {_toy=toys}. [That had been a good
    day.|How long ago it seemed!|{He} smiled a little.]
|{hero} [hummed|sang|whistled] a tune that {his} {_kin=elders} had taught {him}, about {a
    _animal=farm_animals} and {a _thing=vegetables}. [It had {_n=numbers} verses.|{He} knew only the
    beginning.|It helped, as always.|It was a silly song, but a good one.]
|?!in+!snow Not far away, {_n=numbers} {_bug=bugs.s} were busy with {a _fruit=fruits}. [They had no
    worries.|One of them was always late.|{hero} wished them luck.|Every one of them was in the way of the
    others.]
|2*?!night+!critter [Just then|At that moment|A little later] {_other=children} [came|ran|skipped] by with {a
    _colour=colours} {_toy=toys}. "I am going to my {_kin=elders}'s house," said {_other}, and was gone.
|?!night [{hero} was hungry, so {he} ate|In {his} bag {hero} found|There was still] {a _snack=snacks}[|, and
    half of another|, only a little squashed]. [It tasted good.|Not a crumb was left.|After that, everything
    looked better.|{A _bird=birds} got the crumbs.]
|2*?out+!critter+!night {A _trade=trades} went past with {a _condition=conditions} {_vehicle=vehicles}. "[Good
    day|Hello|Good morning to you], {hero}," said the {_trade}. "[Mind your feet!|Fine weather for
    {_flower=flowers.s}!|Have you seen my {_pet=pets}?|Tell your {_kin=elders} I need {a _tool=tools}.]"
|2*?out+!night Two {_animal=birds.s} were quarrelling over {a _snack=snacks}. [The bigger one won|The smaller
    one won|Nobody won], and the other flew off to [the roof|a fence|the next tree|a chimney].
|2*?out+!critter+!night A small {_kid=kids} was sitting on a wall and counting {_thing=flowers.s}. "[Ten,
    eleven, twelve|Seven, eight, nine|One, two, three, many]," said the {_kid}. {_Kid.he} did not look up.
|2*?out+!snow {A _bug=bugs} crawled over a leaf and took no notice of anyone. {hero} watched it [for a
    while|with big eyes|until it was out of sight].
|2*?out+!snow+!night A cloud hid the sun for a moment. Then it was as warm as before, and the
    {_flower=flowers.s} nodded in the wind.
|2*?out+!snow+!night The wind carried [a bit of {_colour=colours} paper|the smell of {_smell=smells}|a few
    notes from {a _instrument=instruments}|one {_colour2=colours} feather] past, and took it away again.
|2*?out+!critter+!night {_other=folk} was hanging out the wash: {_number=numbers} {_colour=colours}
    {_clothes=clothes.s} in a row. "[Lovely day|Careful with that puddle|Say hello at home], {hero}!" called
    {_other}.
|2*?out+child+!night There was a low wall there. {hero} walked along the top of it with {his} arms out, as
    {he} always did, and counted {_number=numbers} steps.
|2*?out+!critter+!night {A _pet=dogs} with {a _colour=colours} collar trotted by. It belonged to {_other=folk}
    and was called {_name=critters}. It sniffed at {hero} and went on.
|2*?out+!critter+!night Three children were playing {_game=games} {_spot=spots_out}. "[You cheated|My turn|I
    won]!" cried {_other=children}, who had {a _colour=colours} {_hat=hats} on.
|2*?out+!critter+!night "Fresh {_thing=fruits.s}!" called {_other=folk} from {a _colour=colours} cart. "[Only
    {_n=numbers} pennies|Sweet as sugar|The last ones]!" But {hero} had no money.
|2*?out+!critter+!night {_other=folk} stood on a ladder and picked {_thing=fruits.s}. "One for you,"
    {_other.he} said, and threw it down to {hero}. [It was a little green.|{He} caught it with one hand.|{He}
    put it in {his} pocket for later.]
|2*?out+!night Somewhere a door banged. {A _bird=birds} flew up, {_n=numbers} others flew up as well, and then
    they all sat down again [{_spot=spots_out}|as if nothing had happened].
|2*?out+!critter+!night "Have you seen my {_colour=colours} {_thing=clothes}?" asked {_other=children}. {hero}
    had not. [It turned up later on {a _tree=trees}.|{_Other} looked under {a _seat=furniture} that somebody
    had thrown away.|"Never mind," said {_other}. "I have another one."]
|2*?in The clock struck {_hour=numbers}. [Somebody laughed in the next room.|The stove crackled.|A door opened
    and closed.|In the street, a cart rolled by.]
|2*?in {A _bug=bugs} walked slowly across the window. {hero} watched it [climb to the top|for a while|until it
    was out of sight], and then [opened the window for it|forgot about it|wished it a good day].
|2*?in+!night Somebody knocked. It was only {_other=folk}, who wanted to borrow {a _tool=tools}. "[I will
    bring it back|You are very kind|What a {_bright=bright} day], {hero}," {_other.he} said.
|2*?in+!night It smelled of {_dish=dishes}. {hero} looked out of the window and saw {_other=children} in the
    street in {a _colour=colours} {_hat=hats}.
|2*?in On the shelf stood {a _colour=colours} {_break=breakables} that nobody was allowed to touch. {hero} did
    not touch it[|, but only just].
|2*?in Under the table lay {a _thing=treasures} that {_other=children} had lost there [on {_day=weekdays}|last
    {_season=seasons}|long ago]. {hero} put it on the windowsill.
|2*?in Upstairs somebody was practising on {a _instrument=instruments}, always the same {_n=numbers} notes.
    [The last one was wrong each time.|Then it stopped.|{A _dog=dogs} howled along.]
|2*?in+!night The postman brought {a _thing=parcels} for {_other=folk} next door. {hero} [put it on the
    stairs|carried it over|looked at the stamp, which had {a _emblem=emblems} on it].
|2*?in+!night "What is for supper?" somebody called. "{_Dish=dishes}!" somebody called back. "[Again|At
    last|With {_thing=fruits.s}]?"
|2*?in {A _cat=dogs} came in, looked around, lay down on {a _colour=colours} {_thing=clothes}, and fell
    asleep.
|2*?night A shooting star flew over the {_tree=trees}. {hero} wished for [something|one thing], and told
    nobody what it was.
|2*?night Far away a lamp went out in a window, then another. Only {a _bird=birds} was still awake, and called
    {_number=numbers} times.
|2*?night {A _animal=night_hunters} went by without a sound. It was carrying something {_colour=colours} and
    did not say what it was.
|2*?night A clock struck, and then another one, a little later. Nobody knows which of the two was right.
|2*?holding {hero} looked at the {held} once more and [smiled|held it a little tighter|turned it over|wiped it
    clean].
|2*?holding+child {hero} put the {held} down for a moment to tie {his} {_colour=colours} [laces|shoe|boot].
    Then {he} picked it up again.
|2*?holding+!critter "[What a nice {held}|Is that your {held}|I had {a held} like that once]," said
    {_other=folk}, who was carrying {a _thing=tools} and {a _colour=colours} {_box=containers}.
|2*?company {mate} knew a joke about {a _animal=big_animals} and {a _thing=fruits}. {Mate.he} told it
    [twice|badly|from end to start], and they laughed all the same.
|2*?company "If you could be any animal, what would you be?" asked {mate}. "{A _animal=small_animals}," said
    {hero}. "I would be {a _animal2=big_animals}," said {mate}.
|2*?company {mate} and {hero} sang the song of the {_colour=colours} {_animal=farm_animals} that had
    {_number=numbers} hats.
|2*?company {mate} had {a _snack=snacks} in {mate.his} pocket. They broke it in two and ate it.
|2*?seeking+out Something {_colour=colours} [shone|lay|could be seen] {_spot=spots_out}. {hero} [ran to
    it|bent down], but it was only {a _litter=litter}.
|2*?seeking+!critter {_other=children} held up {a _colour=colours} {_clothes=clothes}. "Is this what you
    lost?" But it was not. It belonged to {_other2=folk}.
|2*?seeking+!critter {hero} asked {_other=folk}, but {_other.he} had only seen {a _colour=colours} {_toy=toys}
    and {_number=numbers} {_bird=birds.s}.
|2*?snow+!critter A snowball flew over the fence. "Sorry!" called {_other=children}, who wore {a
    _colour=colours} {_hat=hats}.
|2*?snow {A _bird=songbirds} hopped through the snow and left tiny tracks. {hero} put down some crumbs for it.
|2*?snow+!critter {_other=children} went by on a sled that was pulled by {a _dog=dogs}. At the corner they
    both fell into the snow[|, and got up laughing|, and only {_other} got up].
|2*?water {A _animal=pond_animals} put its head out of the water, looked at {hero}, and [dived again|was
    gone|blew a bubble].
|2*?wood {A _animal=small_animals} peeped out from behind {a _tree=trees}. When {hero} moved, it was gone.
|2*?wood The path went past {a _tree=trees} that was so thick that {_number=numbers} children could hide
    behind it.
|2*?town A band was playing in the next street. Someone blew {a _instrument=instruments}, someone else beat a
    drum, and {a _pet=pets} howled.
|2*?town In a window lay {a _colour=colours} {_toy=toys} with a price on it: {_number=numbers} pennies. {hero}
    pressed {his} nose against the glass, sighed, and went on.
|2*?town {A _trade=trades} was showing {a _condition=conditions} {_thing=instruments} to {_other=folk}. "Too
    dear," {_other.he} said.
|2*?town A clock struck {_n=numbers}, and {_m=numbers} {_bird=birds.s} flew up from the roof of the
    [church|school|town hall].
|2*?critter Overhead flew {_number=numbers} {_bird=birds.s} in a line. "Where are you going?" called {hero}.
    "[South|Home|To the sea|To a wedding]!" they called back.
|2*?critter+!snow {A _animal=bugs} sat on a stone and told anyone who would listen that {a _colour=colours}
    {_thing=flowers} had opened by the brook.
|2*?critter {hero} met an old {_animal=pond_animals} who was [looking for dry socks|counting clouds|telling
    stories|asleep in the sun]. They wished each other a good day.
|2*?critter The wind blew a human thing past: {a _colour=colours} {_hat=hats}. {A _animal=small_animals} ran
    after it, and so did {a _animal2=birds}.
|2*?critter "News!" cried {a _bird=birds}. "[The {_animal=small_animals} has had {_n=numbers} children|There
    is {a _thing=vegetables} on the road|They are cutting the hay]!" And it flew on to tell the others.
|2*?critter+!snow Two {_bug=bugs.s} were carrying {a _thing=crumbs}, one to the left and the other to the
    right. [They did not get far.|"Which way is home?" asked one of them.|{hero} stepped over them with care.]
|2*?critter+out {A _animal=farm_animals} looked over the fence, chewed, and said something about the weather.
    [{hero} agreed.|It was wrong.|It was the same as yesterday.]
|2*?child {hero} found {a _thing=treasures} in {his} pocket that {he} had forgotten. {He} put it back again.
|2*?child "When I am big," {hero} [thought|said to {himself}], "I will be {a _trade=trades}." [It was good to
    have a plan.|Yesterday it had been {a _trade2=trades}.|But that was a long time off.]
|2*?child {hero} had a loose tooth, and pushed it with {his} tongue {_n=numbers} times. It was not ready yet.
|2*?child One of {hero}'s [laces|buttons|braces] had come loose. {He} [tied|fixed] it with a bit of
    {_colour=colours} thread, which held [very well|until evening|better than before].
]
"""
