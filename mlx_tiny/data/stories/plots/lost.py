"""Plots about things that are lost or found."""

from __future__ import annotations

PLOTS: dict[str, str] = {
    "lost_toy": """
{@child} <set> {He} had {a colour=colours} {toy=small_toys} with {a emblem=emblems} [painted on it|scratched
into it|drawn on the bottom]. {His} {elder=elders} had [made it for {him}|given it to {him}|brought it from
far away], and {hero} [took it everywhere|never went anywhere without it|would not have traded it for all the
{_baked=baked.s} in the world]. <take hero toy>

<out> {@when} {hero} [went|walked|ran] {place=outings.to} to play. {@fine} {He} {@play} and {@play}, and when
it was time to go home, the {toy} was gone. <drop hero toy> <seek toy>

[{@ohno} {@cried hero}. {@search}|{@sad hero} {@search}] {@nothing} <go hero place>

{~}

{@whatswrong} asked {a trait=traits} {friend=children.kid} {@looks friend}. {Friend.his} name was {friend}.
<go friend place>

"[I have lost my {toy}|My {toy} is gone]," {@replied hero}.

[{friend} held something behind {friend.his} back. "What does it look like?"|"Tell me what it looks like,"
{@said friend}.|"Is it very big?" {@asked friend}. "Which colour is it?"]

["It is {colour}, and there is {a emblem} on it!"|"It is {colour}," said {hero}. "And it has {a emblem} on
it."|{hero} closed {his} eyes. "{Colour}. With {a emblem}."]

<pay> "Then this must be yours," {@says friend}, and there it was: the {colour} {toy} with the {emblem}! [It
had been lying {_spot=spots_out}.|"{A _pet=dogs} had it in its mouth," {friend.he} explained.|"I nearly
stepped on it."|"I found it {_spot=spots_out}." <take friend toy> <meet hero friend>] <find toy>

{@happy hero} {@thanks friend} {@said hero}. {@everafter}
""",
    "found_thing": """
<child> {@when} {hero=children} [was walking|was running|was skipping] {place=town.to} when {his} foot
[hit|touched|kicked] something. <set> <out town> It was {a colour=colours} {box=containers}, and in it lay {a
condition=conditions} {thing=losables}. <take hero thing>

"[Somebody must miss this,|This is not mine,|I wonder whose this is,|Now who would leave that here?]" {@said
hero}. {He} [put the {thing} back into the {box}|took the {box} under {his} arm|looked up and down the
street|thought of a lost {_thing=clothes} of {his} own], and set out to find the owner.

[First {he} asked|{He} began with|The first person {he} met was] {first=folk}. "[Did you lose something|Is
something of yours missing], {first}?"

"[Not I|No, dear|Not today], but I wish I had," {first} said. "I did lose {a _lost=clothes} [last
{_day=weekdays}|in {_month=cold_months}|in the year of the big {_animal=big_animals}]."

{~}

Next {hero} asked the {trade=trades}. ["Mine is here on its hook," said the {trade}. "Try the next house."|The
{trade} looked at it through a glass. "No, no. Mine is much bigger."|"What would I do with {a thing}?" laughed
the {trade}. "I need {a _tool=tools}."]

[At last|In the end|When {he} had almost given up], {hero} came to {owner=folk}, who was [looking under every
chair|turning out all {owner.his} pockets|searching the gutter with a stick|sitting on a step and
sighing|shaking out {a _thing=clothes}].

"Have you lost something?" {@asked hero}.

"Yes! My {thing}," {owner} said. "[It was in {a colour} {box}, and I am no good without it|I keep it in {a
colour} {box}|The {box} was {colour}, and now it is gone]."

<pay> <give hero owner thing> {hero} held out the {box}. "[Here it is|I found it on the ground|Then it has
found you again]!"

{@happy owner} ["You are {a _trait=virtues} {hero.kid}," {owner.he} said, and gave {hero} {a
gift=snacks}.|"Come in," said {owner}, "I have {_dish=dishes} on the stove."|{owner} shook {hero}'s hand for a
long time and would not let go.] [{@bedtime}|{hero} walked home and whistled all the way.|And if you find
something, do as {hero} did.]
""",
    "lost_pet": """
<child> <set> {Pet=critters} was {a colour=furs} {kind=pets} who belonged to {hero=children}. {Pet.he} was
[clever|fast|fat|gentle|sleepy|young], and what {pet.he} loved best in the world was {treat=baked.s}. ["No
{kind} is as good as you," {hero} used to say.|{hero} had to watch the kitchen table all day long.|{hero} gave
{pet.him} {a _thing=vegetables} instead, but that was not the same.]

One {_day=weekdays} the gate stood open, and {pet} was gone. <out> "{pet}! {pet}!" called {hero}. {@search}
{@nothing} {@sad hero}

{~}

In the street {he} met {first=folk}. "[Have you seen|Did you meet] {a colour} {kind}?" {@asked hero}.

"[It ran down the lane|Something {colour} shot past my legs|I did], and it went {place=town.to}," {first}
said[|, and pointed with {a _tool=tools}|, without looking up].

So {hero} ran {place.to}. There stood the {trade=trades}, [red in the face|shaking with laughter|hands in the
air]. <pay> "Is that your {kind}? It has eaten {number=numbers} of my {treat.s}!"

And there was {pet}, [as round as a barrel|with crumbs on {pet.his} nose|fast asleep under the counter|licking
{pet.his} lips]. "Oh, {pet}!" {@cried hero}.

"[I am so sorry|Please don't be angry]," {he} told the {trade}. "[I will pay for them|I will help you all
day|I will sweep your floor]." {hero} [worked|stayed and helped] until the evening, and {pet} [had to
watch|slept|carried {a _thing=clothes} about]. [In the end the {trade} gave them one more of the {treat.s} for
the way home.|"Come again," said the {trade}, "but shut the door."|Since that day the gate has been shut with
{a _thing=ropes}.] {@bedtime}
""",
    "grandmas_glasses": """
<child> <in> "[Where are my glasses|Who has seen my glasses|My glasses are gone]?" said {name=elder_names}.

<set> {Hero=children} looked up from {his} {_toy=toys}. {name} was standing in the {room=rooms} in {name.his}
{colour=colours} {_coat=coats}, and {name.he} was {a _trait=traits} person, but not a tidy one. "I will find
them!" {@said hero}. "[Sit down and rest|Don't move|Leave it to me]."

{hero} looked {spot=spots_in}. There lay {a _thing=treasures}, but no glasses. {He} looked {_spot2=spots_in}.
There was only {a _litter=litter}. {He} even looked in the {_dish=dishes}. [Nothing!|No glasses there.|It was
good, but there was nothing in it.]

{~}

"[What did you do today|Where have you been today], {name}?" {@asked hero}.

"Let me think," said {name}. "I [read a story about {a _animal=big_animals}|wrote to {_folk=folk}|mended {a
_thing=clothes}]. Then I [fed the {_animal2=pets}|watered the {_flower=flowers.s}|peeled {a _veg=vegetables}].
Then I took my glasses off and pushed them... oh!"

<pay> {name} put a hand to {name.his} head. There they were, up in {name.his} [white|grey|curly|thin] hair,
and they had been there the whole time.

[They laughed until {name} had to take {name.his} glasses off again to wipe {name.his} eyes.|{hero} laughed so
hard that {he} fell off the {_seat=seats}.|"We will tell nobody," said {name}, but {hero} told everybody.]
["At least you found {a _thing2=losables} I had lost in {_month=cold_months}," said {name}.|"Next time I will
look there first," {@said hero}.] {@meal}
""",
    "mitten_mouse": """
<out snow> {@snowy} {@somechild} {He} came home from {_place=outings.the} with one {colour=colours} mitten. In
the morning there had been two. <set>

"[Your {elder=elders} knitted those all winter|Your {elder=elders} will be sad about that]," {his}
{_sib=siblings} said.

{hero} put on {a _hat=hats} and went back out. {He} looked {_spot=spots_out} and {_spot2=spots_out}. [The cold
bit {his} nose.|The snow was up to {his} knees.|{His} own tracks were almost gone.|{A _bird=birds} shook snow
on {his} head.]

{~}

<pay> At last {he} saw something {colour} {_spot3=spots_out}. The mitten! But when {hero} picked it up, [it
moved|it was warm|it squeaked]. {He} looked inside. There sat a tiny {animal=thumb_animals}, who looked back
with [round|black|frightened] eyes.

"[Please|Oh please|Don't]," it seemed to say. "[It is so cold outside|I have only just got warm|I have nowhere
else to go]."

{hero} thought about {his} {elder}, and about the snow. {@idea hero} {He} put the mitten back, with {a
_snack=crumbs} in the thumb, and covered it with leaves.

At home {he} told everything. "[Then I shall knit a third one|One needs a spare mitten anyway|A mitten with a
house number, imagine]!" said {his} {elder}. [So {hero} had two {colour} mittens again, and the {animal} had a
house.|In spring, {hero} found the mitten on the doorstep, clean and with {a _gift=treasures} in it.|All
winter {hero} carried crumbs to the mitten, and the {animal} grew fat.]
""",
    "lost_in_market": """
<child> "[Stay close to me|Hold my hand|Don't run off]," {elder=elders.call} had said. "And if you lose me,
<set> wait at the {trade=trades}'s stall with the {colour=colours} flag. Promise?"

"I promise," {hero=children} had said. <out town> But the market was so full! There were {_fruit=fruits.s} in
heaps, and {_animal=farm_animals.s}, and a man who sold {_thing=toys.s}. {hero} stopped to look at {a
_thing2=instruments}. When {he} turned around, {his} {elder} was gone.

{@afraid hero} [Legs and bags were everywhere.|Nobody looked down at {him}.|The noise was like the sea.] {He}
[ran to the left|called out|looked behind a heap of {_veg=vegetables.s}], but there was only {a
_person=trades}.

{~}

["Are you lost?" asked {helper=folk}. "I have a cart. Come with me!" But {hero} shook {his} head. "No, thank
you. I have to wait for somebody."|{hero} began to cry. Then {he} remembered.] A promise is a promise. {He}
stood on {his} toes and looked for a flag. One was {_colour=colours}. One was {_colour2=colours}. <pay> And
over there, between two roofs of cloth, hung the {colour} one!

{hero} waited at the {trade}'s stall and counted {_thing3=baked.s}. "[Somebody will come|They always come],"
{@saidthe trade}, and gave {him} {a _snack=snacks}.

And somebody came: {elder.call}, [out of breath|with {elder.his} hat on backwards|with wet cheeks]. "[You
remembered|You kept your promise|Clever {hero.kid}]!" {elder.he} said, and held {hero} [very tight|so tight
that the {_snack} was squashed].
""",
    "treasure_map": """
<in> <child> It was in the attic, {_spot=spots_in}, that {hero=children} found the map. <set> It showed the
garden, {a tree=trees}, and {number=numbers} footprints that led to {a colour=colours} cross.

"A treasure!" {hero} ran to {his} {trait=traits} cousin {friend=children}. <join friend> <out> ["Maybe it is
gold," {@said friend}.|"Bring {a _tool=diggers}!" {@said friend}.|"I hope there are no {_bug=bugs.s} in it,"
{@said friend}.]

They found the {tree}. They took {number} steps [towards the wall|to the north|with their eyes shut]. Then
they dug. [First they found {a _litter=litter}.|They dug up {a _thing=vegetables} and a very angry
{_bug=bugs}.|{A _bird=birds} came to watch.|The heap grew as high as {a _pet=pets}.]

{~}

Then the spade hit something hard. It was {a condition=conditions} {box=containers}, and inside lay {a
toy=toys} and a letter.

["Dear finder," it said,|In big crooked letters it said:|{friend} read it out:] <pay> "I am {_age=ages} years
old, and this {toy} is my best thing. I drew {a colour} cross on the map so that somebody [nice|as lucky as
me|who likes to dig] would find it. Play with it!" And below that stood a name: {name=elder_names}.

They ran into the house. "{name}! [Is this yours|Did you bury this]?"

{name} took the {toy} in both hands and [was quiet for a long time|turned very pink|began to laugh]. "[I had
forgotten|Sixty years it has waited|So you dig as well as I did]," {name.he} said. That afternoon all three of
them played, and {name} [would not give it back|was the loudest|won every time]. [{@bedtime}|The next day they
drew a new map.|In the hole they buried {a _gift=treasures}, for somebody else.]
""",
    "bus_book": """
<child> <out town> {Hero=children} had a library book about {topic=big_animals.s}, with a picture of {a
emblem=emblems} on the first page. <set> On {_day=weekdays} {he} read it on the bus, and it was so exciting
that {he} [nearly missed {his} stop|forgot where {he} was|did not hear the bell]. {He} jumped off. The doors
closed. The book rode on without {him}.

{@ohno} {@cried hero}, and ran after the bus [past the bakery|as far as the bridge|with flying laces]. But
buses are fast. <seek topic>

{~}

So {hero} walked to the library with [very slow steps|a heavy heart|{his} cap in {his} hands]. <find topic>
"{lady=folk}," {he} said, "I have lost the book about {topic.s}. [I will pay for it with my {_thing=toys}|I am
so sorry|You can have my {_thing2=instruments} for it]."

{lady} looked at {him} over {lady.his} glasses. "[How strange|Now that is odd|Well, well]," {lady.he} said.
"This morning {a trade=trades} came in with a book from the bus. <pay> It had {a emblem} on the first page."

And {lady.he} took it out of a drawer. There was a note in it, too: "[We read it all the way to the end of the
line.|My seat was warm and the book was good.|I liked the part with the hats.] The {trade}."

{@happy hero} {He} took the book home under {his} arm, and wrote a letter to the {trade}. [It was about
{topic.s}, of course.|It said only: thank you.|Perhaps it went by bus as well.]
""",
    "swapped_bags": """
<child> <out> At the station stood two {colour=colours} {bag=bags.s}, as alike as two peas. <set> In one of
them {hero=children} had packed {a toy=small_toys}, {a _cloth=clothes}, and {a sweet=baked} for {his}
{elder=elders}.

The train whistled. {hero} grabbed one of them and jumped on. [Fields and {_animal=farm_animals.s} flew
past.|{A _pet=pets} slept on the seat across from {him}.|It smelled of {_smell=smells} and soot.] But when
{he} was hungry and looked inside, there was {a thing=instruments} in it, and a card with a name:
{owner=folk}.

{@ohno} {@said hero}. {@sad hero}

{~}

At the next stop {hero} got off and waited. [It was a small place with one bench and {_number=numbers}
hens.|The big clock ticked.|The stationmaster brought {him} {_drink=drinks}.] The next train came, and out
jumped {a _trait=traits} {owner.grown} with a bag. <pay> It was {colour}.

"{hero}?" {owner.he} called. "[There is {a sweet} in my bag|My bag has {a toy} in it], and I cannot play a
tune on that!"

"And I cannot [eat|sleep on|share] {a thing}!" {@replied hero}.

They swapped back, and laughed, and {owner} played the {thing} on the platform until [the last train came|all
the {_number2=numbers} lamps were lit|the moon was up|even the hens danced]. [{His} {elder} got only half of
the {sweet}. The rest was {owner}'s.|Now {hero} ties {a _colour=colours} ribbon to {his} bag.|{His} {elder}
never learned why the {sweet} was a day late.]
""",
}
