"""Plots about animals that talk."""

from __future__ import annotations

PLOTS: dict[str, str] = {
    "broken_wing": """
<child out> After the storm, {hero=children} found {a bird=songbirds} {spot=spots_out}. <set> One of its wings
hung down, and around its leg it wore {a colour=colours} [thread|ring|bit of wool].

"[Poor thing|Don't be afraid|I will not hurt you]," {@whispered hero}, and carried it home in {a _hat=hats}.
<in> {His} {elder=elders} [made a nest of {_cloth=clothes.s}|found {a _box=containers} with a lid|tied the
wing with a ribbon]. The {bird} ate {_crumb=crumbs.s} from {hero}'s hand. At night it [slept beside the
stove|put its head under the good wing|made small noises in its sleep].

[After {_number=numbers} days|One {_bright=bright} morning] the {bird} [hopped onto the windowsill|flew once
around the lamp|sang for the first time]. "[It wants to go|Now it is time]," said {his} {elder}. {@sad hero}
But {he} opened the window. Up it went, over the {_tree=trees}, and was gone.

{~}

[Summer went by, and autumn.|Then came winter, with snow up to the windows.|The leaves fell. The snow came,
and went.] {hero} looked up whenever {a _bird=birds} flew past, but it was never the one.

<pay> Then, on the first warm day of spring, there was a tap at the window. On the sill sat {a bird} with
something {colour} on its leg, and it was not alone. [Behind it sat {_young=numbers} young ones|In its beak it
held {a _gift=pretty_bits}|Beside it sat another {bird}].

{@happy hero} [That year there was singing under the roof from morning till night.|"You remembered the way!"
{@said hero}.|They built their nest right over {his} window.]
""",
    "kitten_tree": """
<child out> "Miaow!" said the {tree=trees}. {hero=children} stopped. "Miaow!" said the {tree} again. <set>
High up among the leaves sat {a colour=furs} kitten with {a collar=colours} [ribbon|collar|bow] around its
neck.

"[How did you get up there?|Are you stuck?|Come down, little one,]" {@said hero}. But the kitten only looked
down and trembled.

{hero} tried to climb, but the first branch was too high. {He} held up {a _snack=snacks}, but kittens do not
care for that. {@idea hero} {He} ran to {helper=folk}, who was {a _trait=traits} old {helper.grown} and had a
ladder. [The ladder was too short.|The ladder had lost {_n=numbers} rungs.|The ladder reached just halfway.]
So they put it on {a _cart=vehicles}, and {helper} held it, and {hero} climbed. {His} knees were as soft as
{_dish=dishes}.

{~}

"[Don't look down|Slowly|Nearly there]!" {@cried helper}. {hero} stretched out one hand. The kitten sniffed at
it. Then it [jumped onto {his} head|crept into {his} sleeve|walked down {his} back as if {he} were a ladder,
too].

<pay> In the street a small {kid=kids} was going from door to door in tears. "I have lost my kitten! It is
{colour}, and it has {a collar} ribbon from my birthday!"

"[It was visiting {a tree}|Somebody here has been calling you]," {@says hero}, and gave it back. <-seeking>
[The kitten is grown now, and it still climbs the {tree}. But it has learned the way down.|To thank {him}, the
{kid} named the kitten {hero}.|Since then the kitten waits for {hero} every day at {_hour=hours}.]
""",
    "mouse_and_giant": """
<out critter> {Hero=critters} was {a mouse=tiny_animals}, no bigger than {a _thing=small_fruits}. <set> One
{_bright=bright} day {he} ran over something soft, and it was the nose of {a giant=big_animals}.

"[Who wakes me|Who dares to tickle me|What was that]?" roared the {giant}, and put one great foot on {his}
tail.

{@afraid hero} "[Please let me go|I did not see you|It was an accident]," {@said hero}. "If you let me go, I
will help you, some day." The {giant} laughed so loudly that {_number=numbers} {_fruit=fruits.s} fell from a
tree. "You? Help me? [You could not even carry my {_snack=vegetables}|You are smaller than my toe|That is the
best joke since {_month=warm_months}]." But the foot was lifted.

{~}

[A month later|Not long after that|One {_grim=grim} evening] {hero} heard {a _sound=big_sounds} from the
{_place=wild}. The {giant} had [stepped into a snare|been caught in a net|run into a trap made of ropes] and
could not move. "[Go away, it is no use|Call somebody big|Leave me, little one]," said the {giant}.

<pay> "I said that I would help you," {@says hero}, and began to gnaw. [The rope was as thick as {a
_veg=vegetables}.|It tasted of tar.|It took until the moon was up.] One thread broke, and then another, and
then the {giant} was free.

The {giant} looked at {him} for a long time. "[I laughed too soon|I shall never laugh at small things
again|How big you are]," said the {giant}, and bent down that great nose, [so that {hero} could climb up|as
low as the grass]. [Since then {hero} has ridden home on {a giant} every night.|If you see {a giant} with {a
mouse} on its head, you know who they are.|{@everafter}]
""",
    "forgetful_squirrel": """
<out snow critter> Every autumn {hero=critters} the {kind=hoarders} buried {nut=nuts.s}, and every winter {he}
forgot where. <set> "This time," {he} said, "I will put {a colour=colours} {sign=pebbles} on each spot."

{He} dug {_number=numbers} holes [under {a _tree=trees}|along the fence|around a big stone], and
{number=numbers} more by the brook. In every one {he} put {a nut}, and on top of every one {a colour} {sign}.
Then came the snow, and covered the holes, and the {sign.s} as well.

{hero} stood in front of a white {field=fields}. {@ohno} {@said hero}. {His} stomach rumbled [like {a
_animal=big_animals}|like thunder].

{~}

Nearby, somebody was crying. It was a young {other=woodlanders} named {friend=critters}, who [had lost
{friend.his} mother|could not find {friend.his} hole|had lost the way in the snow]. {hero} was not good at
finding. Still, {he} [took {friend.him} by the paw|put {his} tail around {friend.him}], and they went from
tree to tree until they stood in front of a warm hole with a light in it.

"[What can I give you?|You must be hungry!]" cried {friend}'s mother. "We have little, but the children
collect pretty things. [Look|They found these in autumn]." <pay> And she put down a whole heap of {colour}
{sign.s}. "Each lay on a bit of loose earth. We wrote down where."

"[Where|You wrote it down]?" cried {hero}. And that night there were {nut.s} for all of them, [baked|with
{_drink=drinks}|in a pie], and {hero} was never hungry again. [{@everafter}|Since then {friend} remembers, and
{hero} digs.|But {he} still forgets birthdays.]
""",
    "duckling": """
<out water critter> Plop, plop, plop! {Number=numbers} ducklings jumped into the pond. <set> Only
{hero=critters}, the last one, stayed on the bank with one dry foot on {a colour=colours} [stone|leaf|shell].
{He} was afraid of the water.

"[It is wet|It is deep|Something lives in there]," {@said hero}. "[Come on|It is lovely|Don't be a hen]!"
called the others. {hero} said that {he} [had a cold|had to count the {_bug=bugs.s}|would come after lunch|had
promised to guard the {_flower=flowers.s}].

"[Swimming is only walking where there is no floor|One does not learn it by looking|I was afraid as well,
once]," said the old {wise=pond_wise}, who had seen it all. "[Put in one toe today|Begin with a puddle]." So
{hero} put in one toe. {He} [screamed|shook it|counted to {_few=numbers}]. The next day {he} put in two.

{~}

Then {a _animal=birds} called: {a baby=babies} had fallen off a lily leaf and was [going round and
round|calling for its mother|drifting towards the mill]! And all the others were far away.

{hero} looked at the water. {He} looked at the {baby}. <pay> {He} forgot to be afraid, and jumped from the
{colour} [stone|thing under {his} foot] [with a splash like {a _big=big_animals}|with both eyes shut].

And {he} swam! {He} pushed the {baby} to the bank with {his} beak. "[You are wet|You are swimming|Look where
you are]!" cried the {wise}. {@happy hero} [Only at sunset could they get {him} out again.|Now nobody can get
{him} to come in for supper.|"It is only wet," {hero} tells the little ones.]
""",
    "winter_promise": """
<out critter> "What does snow look like?" asked {hero=critters} the {sleeper=sleepers}, and yawned. <set> For
{he} slept all winter long, {_den=dens}, and had never seen it.

"It is like [{_flower=flowers.s} that fall from the sky|feathers, but cold|flour|stars that melt]," said
{friend=critters}, who was {a other=woodlanders}. "I will keep some for you. And I will wake you with {a
wake=instruments} when the first {flower=spring_flowers} is out. I promise."

{~}

So {hero} went to bed [with a full stomach|under {_number=numbers} leaves|with {a _nut=crumbs} under {his}
pillow]. It snowed. {friend} rolled a ball of the whitest snow, wrapped it in {a _cloth=coats}, and carried it
into the deepest cave. [Every week {friend.he} looked after it.|It was hard to carry.|There it was as cold as
in {_month=cold_months}.] The snow melted. One morning {friend} saw something {_colour=spring_colours} between
the dead leaves: the first {flower}! {Friend.he} ran to {hero}'s door and played the {wake}, [loud and
wrong|until the {_bird=birds.s} complained|until {friend.his} cheeks hurt].

"[Who|What|Five more minutes]..." {@whispered hero}. <pay> Then something cold lay in {his} paw. It was no
bigger than {a _nut=small_fruits} by now, but it was snow.

{@happy hero} "[So that is it|It is quiet, for something so famous|It tickles]," {@said hero}. They watched
until there was only a drop left, and {hero} put the drop on the {flower}. [Every spring they have done the
same.|"Next year," said {friend}, "I will show you ice."|{@everafter}]
""",
    "lost_egg": """
<out critter> In the middle of the path lay an egg. It was {colour=colours} with {pattern=egg_patterns}, and
still warm. <set> {Hero=critters} the {kind=woodlanders} walked around it {_number=numbers} times. "[Somebody
has lost you|You are not mine|You need a mother]," {@said hero}.

{He} rolled it to the {first=layers}. "[Mine are white, and I have counted them|I only have room for my
own|Not mine, dear]," {@saidthe first}. "Ask the {second=layers}." But the {second} only [shook a sleepy
head|laughed|looked at it from both sides]. "Too small," said the {second}.

{~}

It grew dark, and cold. {hero} could not leave it there. {He} [lay down around it|put it under {a _leaf=hats}
that the wind had lost|breathed on it to keep it warm], and told it a story about {a _animal=big_animals} who
was afraid of {_bug=bugs.s}. {hero} did not sleep at all.

In the morning the egg said crack. Out looked [a beak|a round head|two black eyes]. "Mama!" it said, and
looked at {hero}.

{@ohno} {@said hero}. "I am {a kind}, and not your..." <pay> But then there was a rush of wings, and a big
{_bright=sleek} {mother=big_birds} stood there. "My egg! {Colour}, with {pattern}! [The storm took it from the
nest|I have looked all night|It rolled away from me]." And she saw the shell, and the little one, and how
{hero} [shivered|had kept it warm].

"[Then he has two mothers|It was warm, so it lives|You sat on it the whole night]," said the {mother}. [To
this day, a big {mother} visits {hero} every {_day=weekdays}, and still says Mama.|In autumn they carried
{hero} once around the {_tree=trees}, up in the air.|{hero} blushed down to {his} tail.]
""",
    "snail_post": """
<critter out> {Hero=critters} was a snail, and {he} carried the post. <set> One {_day=weekdays} the old
{sender=woodlanders} gave {him} {a letter=envelopes}. "For my {friend=critters.sib} {friend}, who lives [on
the other side of the meadow|beyond the hill|at the end of the wood]," said the {sender}. "[There is no
hurry|Take your time|It is about a party], but do not read it."

So {hero} set off. {He} crossed [the path, which took a morning|a puddle, on {a _leaf=litter}|a field of
{_flower=flowers.s}]. {He} met {a fast=fast_animals}. "[Give it to me|I could be there in no time|You will be
late], slowpoke," {@saidthe fast}. But {hero} shook {his} horns. "[It was given to me|I gave my word|A letter
is not a race]," {@said hero}.

{~}

[It rained for {_number=numbers} days|The moon grew round|{_Season=seasons} came]. {hero} [kept the {letter}
dry under {his} house|slept on top of the {letter}|did not lose the way once]. And at last there was a little
door with {a emblem=emblems} on it.

{friend} opened. {Friend.he} read, and [began to smile|laughed until {friend.he} had to sit down|clapped]. "It
says: please come to my birthday," {friend.he} said. "[It was long ago|That was last spring|It is over, I am
afraid]." {@sad hero}

"But wait," {@said friend}. "There is one more line: <pay> I am sending this with {hero}, so that it comes in
time for the next one. [It is tomorrow|What day is it|Bring {a _cake=baked}]!" {friend} put on {a _hat=hats},
and they set off together, at once, slowly. [They arrived just as the candles were lit.|And the {fast}? Still
looking for the door.|Nobody has ever lost a letter since.]
""",
    "meadow_concert": """
<critter out> Every animal in the meadow could play something. The {a1=pond_animals} played the
{i1=instruments}, the {a2=bugs} played the {i2=instruments}, and the {a3=farm_animals} sang, [which was not
nice, but loud|as low as thunder|a little through the nose]. <set> Only {hero=critters} the
{kind=small_animals} played nothing at all. "[I can only listen|I am the one who listens|Somebody must
listen]," {he} always said.

The concert was to be on {day=weekdays}, when the {_flower=flowers.s} opened. They practised, and every
evening {hero} sat on {a _seat=stones} and listened. {He} knew every tune. {He} knew that the {a1} was too
fast and that the {a2} [forgot to breathe|began too late|was afraid of high notes].

{day} came, and with it [a wind|a thick fog|a great noise from the mill]. No one could hear anyone. The {a1}
began, the {a2} was at the end already, and the {a3} [sang something else|burst into tears|stopped for a
snack]. {@ohno} they all cried.

{~}

<pay> Then {hero} climbed up on {his} old place with a twig in {his} paw. {He} knew every tune. {He} looked at
the {a1}: slower. {He} nodded to the {a2}: now! {He} lifted the twig, and the {a3} [sang as never before|found
the note|took a deep breath].

How it sounded! [Even the wind stopped to listen.|The {_tree=trees.s} bent down.|The moon came up an hour
early.] When it was over, the {a1} gave {hero} [a bow|the biggest {_fruit=fruits}|a flower]. "[We thought you
played nothing|So that is what you play|You play us]," {@saidthe a2}. {@happy hero}
""",
    "hungry_thief": """
<out> Somebody was stealing from {owner=folk}'s garden. On {_day=weekdays} {a first=vegetables} was gone, and
the next night {a second=vegetables}. <set> The only trace was {a clue=tracks} in the soft earth, and a bit of
{colour=colours} wool.

<child> "[I shall find the thief|Leave it to me|I will stay awake tonight]," said {hero=children}, who lived
next door. <night> {He} sat down {_spot=spots_out} with a lamp, {a _snack=snacks}, and {a _pet=dogs} that was
asleep before the moon was up. {@nightfall}

{~}

At midnight there was {a _sound=creature_sounds}. {hero} held up the lamp. There stood {a thief=farm_animals},
thin as a stick, with {a colour} scarf around its neck and {a _third=vegetables} in its mouth. <pay> The
tracks, the wool: it all fitted.

"[So it was you|Stop, thief|Caught]!" {@cried hero}. The {thief} let everything fall and [hung its head|began
to tremble|looked at the ground]. And then {hero} saw the old rope around its leg. [It belonged to
nobody.|Someone had left it behind.|It had run away from somewhere bad.]

<day> In the morning {hero} led the {thief} to {owner}'s door. "This is the thief," {he} said. "[But look how
thin it is|It has no home|It did not take more than it could eat]." {owner} was silent. Then {owner.he}
[fetched {a _box=containers} of {_veg=fruits.s}|opened the gate of the stable|sat down on the step and
scratched it behind the ear].

["I could use somebody who likes {first.s}," {owner.he} said.|"A thief in the garden is bad. {A thief} in the
garden is company," {owner.he} said.|"Well," {owner.he} said, "the scarf suits you."] And {owner.he} is never
alone any more, and the {thief} is now as round as a barrel.
""",
    "dog_digs": """
<out child> {Dog=critters} the {kind=dogs} dug holes. That was all {dog.he} did. {Dog.he} dug up the
{_flower=flowers.s}, {dog.he} dug up the {_veg=vegetables.s}, and {dog.he} buried what {dog.he} loved: {a
_shoe=shoes}, {a _toy=small_toys}, and the end of {a _thing=ropes}.

<set> "[One more hole, and {dog} goes to the farm|Tie {dog.him} up|That animal will be the end of me]!" cried
{owner=folk} next door, who had other worries as well. In the {season=seasons} {owner.he} had lost {a
colour=gem_colours} ring, which {owner.his} {_kin=elders} had given to {owner.him}.

{hero=children}, to whom {dog} belonged, [filled up hole after hole|said sorry {_number=numbers} times|begged
and begged]. {@sad hero} "[You must learn to sit|Dig in the sand, {dog}|Please, just one day without a hole],"
{he} said. {dog} wagged {dog.his} tail, and at night {dog.he} dug a hole under the {tree=trees}, the deepest
of all.

{~}

In the morning {owner} came out, [red as {a _fruit=fruits}|with {a _tool=tools} in {owner.his} hand|in
{owner.his} nightcap]. "Now I have had enough!" {owner.he} cried, and looked into the hole. And was quiet.
<pay> Something {colour} shone down there, between two roots.

"My ring!" {@said owner}. "[It must have slipped off when I planted the bulbs|A magpie must have hidden it|I
have walked over it every day]."

{@happy owner} {dog} got a bone as long as {dog.his} tail, [and buried it at once|which {dog.he} did not eat,
but hid|and a pat on the head]. "[Dig where you like|One hole a day is allowed|That nose is worth gold],"
{@said owner}. [{@bedtime}|The {_flower2=flowers.s} have had a hard life since then.|And {hero} filled up that
hole, the last one, very gladly.]
""",
}
