"""Plots at home and at work: baking, building, planting, mending, and what goes wrong with it."""

from __future__ import annotations

PLOTS: dict[str, str] = {
    "missing_ingredient": """
<in> {@child} [The next day|On {_day=weekdays}|In two days], {his} {elder=elders} would have a birthday, and
{hero} wanted to bake {a cake=cakes} all alone. {He} put on {a _coat=coats} that reached to the floor.

"[Eggs, butter, flour|First the big bowl|One, two, three eggs]," {he} read, "and {number=numbers} spoons of
{missing=ingredients}." {hero} looked {_spot=spots_in}. {He} looked into every {_box=containers}. There was no
{missing}. <set>

So {he} rang {neighbour=folk}'s bell. "[Do you have|Could I please have|May I borrow] some {missing}?" {@asked
hero}. "Certainly," {@says neighbour}, and filled {a colour=colours} cup to the brim. "But it costs something:
the first slice." "[That is a promise|You shall have it|The very first]!" {@replied hero}.

{~}

{hero} stirred until {his} arm was lame. {He} counted the spoons: [one, two, and so on up to {number}|all
{number}|{number}, and a bit for luck]. [Flour snowed on the {_pet=dogs}.|The oven hummed.|Soon it smelled of
{_smell=smells} and sugar.] The {cake} [rose|turned golden|came out a little crooked, but whole].

In the evening everybody sat at the table. "[Me first|I want the biggest piece]!" cried {his} {_sib=siblings}.
But {hero} cut the first slice, put it on a plate with the {colour} cup, and <pay> carried it over to
{neighbour}.

"[Well baked|So you keep your word|I had nearly forgotten]," {@says neighbour}, with {neighbour.his} mouth
full. [For the second one, {hero} had to run.|"Come for {missing} whenever you like," {neighbour.he}
added.|When {he} came back there was just one piece left, and {his} {elder} had kept it for {him}.|And
{neighbour} came along to the party, and brought {a _thing=instruments}.]
""",
    "wheel_cart": """
<child out> {Hero=children} and {friend=children} were building a cart. <join friend> <set> They had {a
_box=containers}, {_number=numbers} nails, and three wheels: {a _c1=colours} one, {a _c2=colours} one, and one
from {a _thing=toys}. The fourth was missing.

"[With three it only goes in circles|A cart has four|It limps like {a _animal=farm_animals}]," {@said friend}.
They asked the {trade=trades}. "[Wheels are dear|I have one, but it is mine]," said the {trade}. "If you sweep
my yard, I will give you one. It is {colour=colours}." They swept until [the dust stood over the roofs|even
the hens sneezed|it was dark].

With the {colour} wheel the cart ran [like the wind|down the lane, over the bridge, and into {a
_tree=trees}|faster than the {_pet=dogs}]. They called it The {name=cart_names}.

{~}

The next {_day=weekdays} they saw the {trade} at the roadside. {A vehicle=carts} lay in the ditch, and all the
{goods=fruits.s} had rolled into the grass. "[My wheel broke|One wheel gone]," groaned the {trade}, "and the
market opens in an hour!"

{hero} looked at {friend}. {friend} looked at The {name}. [Neither said anything.|It was not easy.|Then both
nodded.] <pay> They took off the {colour} wheel and put it where the broken one had been. It fitted, [as if it
had never been away|almost|with a bit of rope].

In the evening the {trade} stood at the gate with [two wheels, both new|a whole axle|the wheel, a lamp, and a
bell]. "[That is for you|I sold everything|Friends get theirs for nothing]," said the {trade}. And since then
The {name} [has a basket of {goods.s} in it every {_day2=weekdays}|is the fastest cart in town|has four wheels
and one to spare].
""",
    "giant_vegetable": """
<child out> In {_month=warm_months}, {hero=children} put a seed into the ground. {Elder=elder_names} had given
it to {him} and would not say what it was. <set> "[Water it|Be patient|Talk to it]," {elder.he} said, "and put
{a sign=colours} stick beside it, so that you know where it is."

For {_number=numbers} days nothing happened. {hero} [watered it|sang to it|told it what there was for supper].
{A _bird=birds} sat on the {sign} stick and laughed. Then came two leaves. Then came leaves as big as
[cushions|plates|umbrellas|hats|drums]. And then, under the leaves, {hero} found {a veg=big_vegetables}, no
bigger than {a _fruit=small_fruits}.

It grew and grew. [Soon it was as big as {a _pet=dogs}|It pushed the fence over|It lifted the gate out of the
ground]. {@fine} In {_autumn=autumn_months} it was so big that {a trade=trades} [knocked on it and asked for
the rent|came to measure it, and ran out of string|dropped {a _box=containers} in surprise].

{~}

How does one carry such a thing? {hero} pulled. {friend=children} pulled at {hero}, {a _animal=farm_animals}
pulled at {friend}, and all the neighbours pulled. Plop! They all fell over, and there it was.

<pay> They rolled it to {elder}'s house and leaned the {sign} stick against it. "[So it was that one|Oh, is it
big already|I had forgotten]!" {@said elder}. {Elder.he} cut a door in it, and then a window.

[There was {veg} soup for the whole street, for a week.|They ate the inside, and the outside became a house
for {a _pet2=small_animals}.|It won first prize, and then it was eaten, prize and all.] {hero} kept one seed.
[You may have it, if you ask.|It lies in {a _nest=pouches}.|{He} has not decided who shall get it.]
""",
    "snowman_hat": """
<child out snow> {@snowy} {hero=children} built a snowman. It had {a nose=vegetables} for a nose,
{button=pebbles.s} for eyes, and on its head {a colour=colours} {hat=hats} that belonged to {his}
{elder=elders}. <set>

"[Lend it to him, if you like|He may have it for the winter|You can have it]," {elder.he} said, "but it has to
come home." The snowman stood by the gate [and looked at the road|with {a _tool=tools} in his arm|through
{_number=numbers} frosty nights]. {hero} said good morning to him every day, and it seemed to {him} that he
answered.

Then the wind changed. [The nose fell off first.|He got thin.|He leaned to one side.] {@sad hero} "[Don't
go|Stay a little]," {@whispered hero}.

{~}

The next morning there was only a puddle by the gate, with the {nose} beside it. But where was the {hat}?
{hero} looked {_spot=spots_out}. {He} looked {_spot2=spots_out}. [The wind must have taken it.|It was
nowhere.|{A _pet=dogs} had left tracks, but no {hat}.]

<pay> In {month=spring_months}, something {colour} shone in the {tree=trees}. It was the {hat}, and in it sat
{a bird=songbirds} on {_eggs=few} eggs. "[So it did not come home|Now it is a house|He passed it on]," {@said
hero}. {His} {elder} [laughed|nodded] and [bought a new one|said it had never looked better|let it hang
there].

When the young ones had flown, {hero} fetched the {hat} down and [shook it out|hung it on its hook|washed it].
There were still two {button.s} in it, [round and black|side by side, like eyes]. And the next winter somebody
by the gate wore it again.
""",
    "wrong_paint": """
<child out> "The fence has to be white by {_day=weekdays}," said {boss=folk}, put down a pot, and went off to
{place=town.the}. <set> {Hero=children} [rolled up {his} sleeves|was very proud|spat in {his} hands] and took
the brush. {@fine}

But when {he} opened the pot, the paint was {colour=strong_colours}. [Perhaps that was a new kind of
white.|White is only a word.|{hero} had promised to finish.] {He} painted one board {colour}, and then
{number=numbers} more. {A _pet=pets} leaned against the fence, and was {colour} too. {A _trade=trades} came by
and [stopped|whistled|fell off a bicycle].

{@ohno} cried {friend=children}, who lived across the road. "[It was going to be white|What will {boss}
say|Run]!" {hero} looked at the pot. On the bottom it said: for the boat. {@sad hero}

{~}

<join friend> "[Then we make the best of it|It looks empty, somehow|It needs something]," {@says friend}, and
fetched {a _tool=menders}, some yellow, and some blue. They painted {_flower=flowers.s} on the {colour}
boards, and {a _animal=big_animals}, and {a _instrument=instruments} with wings.

At six {boss} came back. {Boss.he} stood still. {hero} held {his} breath. <pay> "{Colour}," said {boss}.
"[With {a _bird=birds} on top|And it was to be white|I see]." [It was quiet for a long time.|A drop fell from
the brush.] Then the corners of {boss.his} mouth went up.

"[So where is my boat? It must have a fence as well|And I thought I knew you|My grandmother had one just like
it]," {boss.he} said. [Now people come from far away to see that fence.|And the boat was painted white.|The
{_pet} has stayed a little {colour} behind the ears.]
""",
    "pink_wash": """
<child in> Nobody had told {hero=children} what one {colour=strong_colours} sock can do. <set> {He} only
wanted to help. While {his} {elder=elders} was out, {he} put everything into the tub: the sheets, the shirts,
{a coat=coats}, {a hat=hats}, and a sock with {a emblem=emblems} on it.

{He} rubbed and sang, and the foam [rose|flew about|reached up to {his} chin]. {A _bug=bugs} watched from the
window. Then {he} pulled out the first sheet. It was {colour}. The shirts were {colour}. The {coat} was
{colour} as well.

{@ohno} {@cried hero}. {He} tried [salt|lemon juice|more soap|hot water]. {He} even tried {_drink=drinks}. It
only got worse, and now it smelled of {_smell=smells}, too. {@afraid hero}

{~}

{His} {elder} came home. [There was a long silence.|{Elder.he} sat down on the {_seat=seats}.|{Elder.he} put
down {elder.his} bag, very slowly.] "I wanted to help," {@whispered hero}, and held up the sock with the
{emblem}. "[I see|Well|So it was you, little sock]," said {his} {elder}.

<pay> On {day=weekdays}, the whole family went to {place=town.the} in {colour} from head to foot. [Everyone
turned around.|"A club!" people said.|{A _trade=trades} asked where one could buy such things.] {elder.call}
had the {hat} on, and {hero} the {coat}, and they [bowed|walked very straight|laughed all the way].

["One gets used to it," {@saidkin elder}, "but next time, call me."|By summer it was the fashion.|The sock
hangs on a nail now, so that nobody forgets.] And {hero} has learned to look for socks first.
""",
    "tent_noise": """
<child out> "We will sleep outside, alone, the whole night," said {hero=children} and {his} cousin
{friend=children}, and they put up a tent {_spot=spots_out}. <join friend> They had a lamp, {a _tool=tools},
{number=numbers} {snack=baked.s}, and {a colour=colours} blanket. <set>

"[If there is a bear, I will talk to it|I am never afraid|You may hold my hand, if you like]," {@said friend}.
<night> {@nightfall} They told each other stories of {_thing=lands}, and of {a _animal=big_animals} with
{_eyes=numbers} eyes.

Then there was {a _sound=creature_sounds}. And again, very close. {@afraid friend} "What is that?" {@whispered
friend}. "[Only the wind|A leaf|I don't know]," {@whispered hero}. Something [walked around the tent|scratched
at the cloth|breathed]. The {colour} blanket went up, over two heads.

{~}

"One of us must look," {@whispered friend}. "[Both|Together|On three]," {@whispered hero}. They took the lamp.
They counted: one, two, three! <pay> Outside stood [no bear at all|no ghost|nothing with many eyes], but {a
beast=night_animals} with crumbs on its nose. There had been {number} {snack.s} by the door of the tent. Now
there were none.

[They laughed until the lights in the house went on.|"Good evening," {@says friend}, since somebody had to say
something.|The {beast} looked at them as if they were the noise.] Then they sat side by side under the
{colour} blanket and looked at the stars.

[In the morning they said that they had slept very well.|"We were hardly afraid," they told {hero}'s
{_kin=elders}.|The next night they put out {a _fruit=fruits} as well.]
""",
    "lights_out": """
<child in night> Click! All at once it was dark. {hero=children} had been reading a book about {a
_animal=big_animals}, and now {he} could not see {his} own hand. The whole street was black. <set>

"[Sit still|Don't be afraid|It is only the storm]," called {his} {elder=elders}, and lit a candle in {a
colour=colours} {holder=holders}. "When I was small, we had no lamps, and we had each other's shadows."
{Elder.he} put {elder.his} hands in front of the flame. On the wall sat {a first=shadow_animals}.

"[Again|Another one|How do you do that]!" {@cried hero}. {He} tried it, and made something that was half {a
_veg=vegetables} and half {a second=shadow_animals}. [It could open its mouth.|It had three ears.|They named
it {_name=critters}.]

{~}

The {first} and the {second} [met in a dark wood|had a quarrel about {a _snack=snacks}|went to {_land=lands}
together]. There was a knock: {neighbour=folk} from upstairs, who had no candle. "[Come in|Sit down with us],"
{@said hero}. {neighbour} could do {a third=shadow_animals}, with a voice. [Then came all the others from the
house.|They laughed so much that the flame shook.|Nobody looked at the clock.]

Click! The light was back. Everybody blinked. <pay> The wall was only a wall, and the {first} was gone. {@sad
hero}

Then {hero} got up, and [turned the switch|put out the lamp again|pulled the plug], and reached for the
{colour} {holder}. "[Where were we|The {first} was just about to speak|The story is not over]," {he} said.
[And the {first} came back at once.|Since then the house has one dark evening a month.|That is how the
{_day=weekdays} shadow club began.]
""",
    "stopped_clock": """
<in child> In {house=elder_names}'s hall stood a tall clock, and it had stopped. <set> Since
{_month=cold_months} it had been {time=hours} all day long. "[It is tired|It can be mended, but not by me|I
miss its voice]," {@says house}. "It was made by my father, who painted {a emblem=emblems} on it."

{hero=children} opened the little door. Inside were [wheels, big and small|more wheels than {he} could
count|dust and wheels]. {He} [blew|listened|looked closely] and found {a thing=treasures} between two of them.
{He} took it out. But the clock did not move.

So {hero} went to the {trade=menders_trades}, who [was asleep|had a glass in one eye|was eating
{_dish=dishes}]. "[Is there a wheel missing|Does it have a heart|What does it say when you push it]?" asked
the {trade}. "Look for a small one with {number=numbers} teeth."

{~}

At home {hero} looked everywhere, [under every rug|in every drawer|even in the {_food=dishes}]. At last {he}
saw it, on a string around the neck of the {colour=furs} {pet=dogs}! It shone like a coin. {He} counted the
teeth: {number}. "[Who hung that there|So you had it|May I]?" The {pet} [gave it up for {a
_snack=snacks}|yawned|purred, or growled, it was hard to say].

<pay> In the evening {he} put it in its place, next to the {emblem}, and [gave the pendulum a push|wound it
up|held {his} breath]. Tick. Nothing. Then: tick, tock, tick, tock!

{@happy house} "[There it is|My father's voice|Now it can be morning again]," {house.he} said. It was {time},
as always, [but not for long|and for once that was right]. {house} hung the {thing} on {hero}'s collar like a
medal. {@bedtime}
""",
    "button_soup": """
<out> One {_bad=icy} evening a stranger in {a _coat=coats} came into a village. <set> {Hero=wanderers} was
{his} name, and all {he} had was {a colour=colours} pot and {a stone=treasures}. {He} knocked at
{_number=numbers} doors. "[We have nothing|Go away|Our shelves are empty]," said the people.

"[Never mind|What a pity|Then I must do it myself]," {@said hero}. "I will cook {stone} soup." {He} filled the
pot at the well, lit a fire, and put the {stone} in. [Windows opened.|Noses came out of doors.|One child came,
and then three.] "{Stone} soup? [Is that good|Can one eat that|Does it fill you]?" asked {one=folk}. "[Oh,
yes|The king eats nothing else|It is splendid], though it would be better with {a v1=vegetables}."

"I might have one," {@says one}, and ran. Then came the {trade=trades}. "[Only one thing is missing|Almost
ready]," {@said hero}. "Some {v2=vegetables.s}, perhaps?" The {trade} ran, too.

{~}

Next {two=folk} [found|remembered|brought] {a v3=vegetables}, and a small {kid=kids} brought salt in one hand.
They stirred. It smelled of {_smell=smells}, and then it smelled of soup. [Somebody fetched {a
_instrument=instruments}.|Somebody brought benches.|A flute began.]

<pay> They ate until they saw the bottom of the {colour} pot, and there lay the {stone}, as good as new. "[A
wonderful thing|To think that it was all made of {a stone}|And out of nothing]!" {@said one}.

In the morning {hero} was gone. But the {stone} lay on the edge of the well, [with a note: It was the best I
ever ate|for the next time|in the snow]. [Since then the village has soup together every {_day=weekdays}.|Of
course {one} knows that it was the {v1}. But {one.he} says nothing.|And nobody there has an empty shelf any
more.]
""",
    "kite_in_tree": """
<child out> It was a day for kites. {@fine} {hero=children} and {his} {sib=siblings} had made one,
{colour=colours} in front and {back=colours} behind, with a tail of {_tail=flowers.s}. <set> [It pulled like
{a _horse=pullers}.|It was higher than the church.|The string hummed.] Then the wind turned, and the kite flew
into {a tree=trees} and stayed there.

"[I will get it down|No problem|Watch me]," {@says hero}, and threw {his} {shoe=shoes} at it. The {shoe}
stayed up there, too. So {he} threw {a ball=throwables} after the {shoe}. [It stayed there.|Now there were
three things in the tree.] {His} {sib} threw {a _thing=tools}. [It hung on a branch and swung.|Four.|A leaf
came down. Nothing else.]

{first=folk} came with {a _rod=poles}, and left without it. The {trade=trades} threw up {a _last=rollers}.
[There was hardly room for leaves any more.|"I have never seen such a greedy tree," said the {trade}.|Two
{_bird=birds.s} moved out.]

{~}

"Enough!" {@said hero}. "We will ask it nicely." {He} went up to the {tree}, [laid {his} hand on the
trunk|bowed|knocked three times], and said: "Dear {tree}, [we have bothered you long enough|keep the ball, if
you want|you must be ticklish by now]. May we have our kite?"

<pay> Then a gust came, and the {tree} [shook itself like a wet dog|sneezed, or so it seemed|bent down]. Down
came the {ball}, down came the {shoe}, down came everything, and last of all, slowly, something {colour} and
{back}.

["Thank you," {@says hero}, and {he} meant it.|Nobody said a word. Then they all said thank you at the same
time.] Since that day {hero} [flies {his} kite in the field|waters the {tree} in dry weather|takes off {his}
hat to the {tree}], and {he} is always polite to trees.
""",
    "toy_boat": """
<child out water> {Hero=children} built a boat out of [a plank|bark|an old shoe|a cigar box], with a pencil
for a mast and {a colour=colours} sail that had once been {a _cloth=coats}. {He} named it The
{name=cart_names}, and painted {a emblem=emblems} on it. <set>

On {_day=weekdays} {he} carried it to the brook. "[Stay close to the bank|Don't go far|Only to the bridge and
back]!" {he} told it. But boats are [made to leave|bad at listening|like that]. The wind took the {colour}
sail, and off it went, past the {_tree=trees}, past {a _animal=pond_animals}, under the bridge. {hero} ran
along the bank as far as {he} could. [Then came a fence.|Then the path stopped.|Then {he} fell into the
nettles.]

{@sad hero} "[Good journey|Come back|Send me {a _word=envelopes}]!" {he} called.

{~}

[A month went by|{_Number=numbers} weeks passed|It was {_month=warm_months} by then]. The brook runs into the
river, and the river runs through the next town, and there {friend=children} was fishing for {_fish=fishes.s}.
{Friend.he} did not catch a thing. Then something {colour} bumped against {friend.his} boot.

The postman came to {hero}'s house with a box. <pay> In it lay The {name}, [a little scratched|with a new
mast|with a shell in it], and a letter: "[She came to me with her sail up|I found your name under the
{emblem}|I have oiled her]. I have put in {a gift=sea_gifts}. Now send her back to me, when the wind is right.
{friend}."

{@happy hero} [{He} looked at the sky. Tomorrow, it said.|"So you did send word," {he} told the boat.|Since
then The {name} has gone down the brook every month, and come home by post.]
""",
}
