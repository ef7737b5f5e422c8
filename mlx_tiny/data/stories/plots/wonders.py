"""Plots with a little magic in them: wishes, dragons, stars, and kings."""

from __future__ import annotations

PLOTS: dict[str, str] = {
    "wishing_well": """
{@child} <out> One {_day=weekdays} {he} dropped {a coin=treasures} into the old well, by mistake. "Thank you,"
said the well. "That makes three wishes." <set>

{hero} thought of {a colour=colours} {toy=toys}. There it was! {He} thought of {a _cake=baked} as big as {a
_beast=big_animals}. There it was, too[|, and {a _bug=bugs} was already sitting on it|, right on {his} foot].
"One is left," said the well. "[Think about it|Take your time|Most people waste it]."

[A castle?|A crown?|{A _pony=farm_animals} that could talk?] {hero} walked up and down. {He} asked
{friend=children}, who had come to [fill a bucket|fetch water|look for a lost {_glove=clothes}]. "What would
you wish for?"

"[That is easy|I know it at once|Only one thing]," {@said friend}. "My {elder=elders} has been ill since
{_month=cold_months}. I would wish that {elder.he} could [get up|sing again|dance again]." And {friend.he}
went home with {friend.his} bucket.

{~}

{hero} ate a bit of the {_cake}. It did not taste as it should. {He} looked at the {colour} {toy}, and then
into the well. <pay> "I know now," {he} said. "I wish that {friend}'s {elder} were well."

"[Are you sure|And nothing for yourself|Not the castle]?" asked the well. "Quite sure," {@said hero}.

In the evening there was [singing in the street|a light in {friend}'s house|music behind {friend}'s door], and
{friend} [danced past with {friend.his} {elder}|ran from house to house|laughed so that one heard it at the
well]. {hero} brought them the rest of the {_cake}. [And the well? It gave {him} back {his} {coin}. "You need
no luck," it said.|{friend} never learned who it was. But the well knows, and so do you.|Now the {_cake}
tasted as it should.]
""",
    "cold_dragon": """
<out critter> {Hero=dragons} was a dragon, but no fire came out of {him}. Only {smoke=dragon_breath} came,
with {a colour=colours} shine. <set> The other dragons [laughed|rolled on their backs|looked away]. "[Perhaps
you are a lizard|Cook your own {_dish=dishes}, then|A dragon without fire is only a big
{_beast=farm_animals}]," they said.

So {he} set out to learn it. {He} asked the {trade=fire_trades}. "[Blow harder|You need a bellows|Eat more
{_veg2=vegetables.s}]," {@saidthe trade}. {hero} blew until {he} saw {_emblem=emblems.s} in front of {his}
eyes, but out came {smoke}, and nothing more. {He} asked a volcano. "[I do it when I am angry|I just wait, and
then it comes|Ask me in a hundred years]," it said.

{~}

One {_icy=icy} evening {he} came to a hut. A small {kid=kids} sat in front of a black stove with [blue lips|a
blanket and no shoes|two mittens on each hand]. "[The matches are wet|Our fire went out|There is no dry wood
left]," {@saidthe kid}, "and {parent=elders.call} is sick, and {parent.he} is so cold."

<pay> Something happened in {hero}'s chest. It was not anger. It was [warm|like cocoa|as if somebody had lit a
lamp there]. {He} opened {his} mouth, and what came was not {smoke}, but a flame, small and {colour},
[straight into the stove|no bigger than {a _flower=flowers}|and it was enough].

The {kid} laughed. The kettle began to sing. "[So that is how|One must want it for somebody|That was me],"
{@says hero}, very much surprised. [{He} stayed until spring, and kept the soup warm.|Now the other dragons
come to {him} to learn.|In that village nobody uses matches any more.]
""",
    "fallen_star": """
<child night out> {@nightfall} {hero=children} was looking out of the window when a star fell. It fell
[without a sound|with a small hiss|quite slowly], straight into {place=star_places}. <set>

{He} ran out in {his} nightshirt. There it lay, no bigger than {a _fruit=small_fruits}, and it shone
{colour=gem_colours}. It was crying. "[I leaned out too far|I wanted to see the {_flower=flowers.s}|I fell
asleep and slipped]," it said. "[And now there is a gap|They cannot sleep without me|My place is between two
big ones]."

"[Don't cry|I will take you home|We will find a way]," {@said hero}. {He} wrapped it in {a _scarf=coats}, so
that it would not be cold. They tried the {first=high_things}: too low. They tried the {second=high_things}:
still too low. {A _bird=night_birds} [offered to help, but the star was too hot|shook its head|said that it
only flew as far as the chimney].

{~}

"What do stars weigh?" {@asked hero}. "[Nothing, when they are glad|Less than a song|As much as they are
sad]," said the star. {@idea hero} "Then I must make you laugh!"

{He} [walked on {his} hands|made a face like {a _beast=big_animals}|told it about the {_animal=pets} that ate
{_n=numbers} hats]. The corners of the star twitched. {He} [did it again|sang the song of the lost
{_sock=shoes}|did it backwards]. <pay> And the star began to laugh, and with every laugh it rose: over the
{place2=fences}, over the {first}, over the {second}, and up.

In the sky the gap was filled. It shone {colour}, a bit more brightly than the rest. {hero} waved. [And since
then it has winked at {him} every clear night.|When you see {a colour} one that trembles, it is thinking of
that evening.|"Hold on tight!" {he} called, but it was much too far.]
""",
    "talking_door": """
<child out wood> In the wood stood a door, all alone, without a house. It was {colour=colours}, and had {a
emblem=emblems} carved in it. {hero=children} [walked around it|knocked|looked through the keyhole, and saw
only trees]. <set>

"[Good day|At last somebody|Don't tickle]," said the door. "Bring me a thing that {riddle=riddles}, and I will
open."

"[Give me time|I must think|That is hard]," {@said hero}. {He} brought {a first=treasures}. "[No|Nice, but
no|Wrong]," said the door. {He} brought {a second=vegetables}. "[Are you hungry? No|Not that either|No, no,
no]." {@idea hero} {He} came back with {a _third=instruments}.

{~}

That was not it, either. It grew late. By the brook {hero} met {friend=children}, who had no one to walk with.
"I am looking for a thing that {riddle}," {@said hero}. "[I have nothing at all|I have only {a
_thing=snacks}]," {@said friend}. "But I could come along and help you carry it." <join friend>

So the two of them stood in front of the {colour} door. "And? What have you brought?" it asked. "Nothing,"
{@said hero}. "[Only my friend|Only {friend}|I have just made a friend, that is all]."

<pay> The {emblem} began to shine. "[That is the one thing I meant|Right|At last]," said the door. "What is it
that {riddle}? A friendship!" And it opened, and behind it was [the same wood, but all in bloom|a garden with
two swings|a table laid for two, with {_cake=baked.s}].

[They can still find the door, but only when they go together.|They left it open, for the next ones.|"Come
again," said the door, "and wipe your feet."]
""",
    "magic_brush": """
<child in> {Old=folk} had no money, so {old.he} paid {hero=children} for {his} help with {a
condition=conditions} brush. "[Use it well|Never paint what you would not feed|Be careful with it]," {old.he}
said. <set>

That evening {hero} painted {a fruit=fruits}. It rolled off the paper. {He} bit into it: [sweet|juicy|a real
one]! {He} painted {a colour=colours} {hat=hats}, and put it on. {He} painted {a bird=birds}, and it [flew
three times around the room|sat on {his} shoulder|opened the window by itself].

Soon everyone in town knew. "[Paint me a gold coin|Paint me ten, no, a hundred|Paint me a palace]!" cried the
{rich=rich_people}, and locked {hero} in a room with {a _box=containers} full of paper. "You come out when the
room is full of gold." {@sad hero}

{~}

{hero} sat and looked at the brush. {@idea hero} <pay> {He} painted [a door, with a key in it|a ladder, with
{_n=numbers} rungs|a rope, and a window to hang it from]. And before {he} went, {he} painted one thing more: a
fine fat {goat=hungry_animals}.

When the {rich} came in the morning, there was no gold, and no {hero}. There was {a goat}, and it had eaten
[the curtains|all the paper|the {rich}'s other coat].

{hero} gave the brush back to {old}. "[It is too much for me|I would rather have had a cookie|I fed everything
I painted]," {he} said. {old} [laughed|nodded], and painted two chairs and {a cake=baked}, and they ate it
together. [The {colour} {hat} {he} kept.|The {bird} still comes when {he} whistles.|The {fruit} had been the
best of all, {he} said.]
""",
    "hat_wind": """
<out> There once was a wind that stole hats. In one week it took {a h1=hats}, {a h2=hats}, and the
{colour=colours} {h3=hats} of {owner=folk}. Nobody in town dared to [go out without a string under the
chin|wave|look up]. <set>

<child> "[Somebody must talk to it|It only wants something|I am not afraid of air]," said {hero=children}.
{He} climbed {climb=up_places} and sat down. [The wind pulled {his} hair.|The wind pulled at {his}
{_coat=coats}.|The wind blew dust in {his} eyes.] "Why do you do it?" {@asked hero}.

"Whoo," said the wind. "[Nobody stays with me|Everyone shuts the window|They all hold on to something, when I
come]. But when I have a hat, they run after me! [It is nearly like a game|That is almost like having
friends|How they run]!"

{~}

{hero} thought about that. "[You can play without stealing|I will show you something|Give back the hats, and I
will come every day]," {he} said. {He} took {a thing=wind_toys} out of {his} bag and held it up. The wind
[sniffed at it|took it, gently|turned it once, and then a hundred times]. "Oh," said the wind.

<pay> The next morning it rained hats. {A h1} landed on the [roof|sign|chimney|steps] of the inn, and {a h2}
on {a _animal=farm_animals}, and the {colour} {h3} came down right on {owner}'s head.

"[It fits better than before|It smells of the sea|Well, I never]," {@said owner}. And on {his} hill {hero} was
already waiting with the {thing}. [Where the wind and {he} play, the grass lies flat.|There are {_n=numbers}
of them now, on the hill.|Sometimes it takes a hat, out of habit. But it brings it back.]
""",
    "toy_at_night": """
<out night> When the clock struck twelve, {hero=toy_names} the {toy=soft_toys} opened one eye. {He} was
{colour=colours}, and belonged to {child=children}, who was asleep. <set> "[Now|All clear|It is time]," {he}
whispered, and climbed down from the shelf, by way of the curtain. For that day, {child} had lost {a
lost=losables} in the garden, {spot=spots_out}, and {hero} [had seen it fall|knew the place|could not bear
it].

A toy must be back on its shelf when the cock crows. That is the law. {hero} [slid down the banister|squeezed
through the cat's door|climbed out of the window] and ran through the wet grass, which was as high as a
forest. {A beast=night_hunters} [looked at {him} with green eyes|sniffed at {him}|wanted to know where {he}
was going]. "[I am only made of wood and wool|Another time|I have no time to be afraid]," said {hero}.

There it was, {spot}: the {lost}, and it was heavy. {hero} [rolled it|pulled it by a thread|carried it on
{his} head].

{~}

The sky was turning pink. The cock on {owner=folk}'s roof [stretched|opened one eye|took a deep breath].
{hero} ran. {He} [climbed|swung|hopped], from the {chair=seats} to the sill, and from the sill to the bed.
<pay> {He} put the {lost} on the pillow, and jumped. Cock-a-doodle-doo!

{child} woke up. "My {lost}!" {@cried child}. [Who could have brought it?|"It came back by itself!"|{Child.he}
looked at the window. {Child.he} looked under the bed.] Then {child.he} saw that the {colour} {toy} on the
shelf had wet feet, and [said nothing|gave {him} a long look|put {him} next to {child.him} on the pillow].
[Since that night {hero} sleeps in the bed, and not on the shelf.|"Thank you," {child.he} whispered. {hero}
did not move. That is the law.|A blade of grass hung from {his} ear.]
""",
    "sleepless_king": """
{@somebody} a king who could not sleep. <set> He lay in a bed of {_stuff=fine_stuff} and counted
{_animal=farm_animals.s}, up to {_many=big_numbers}. [Nothing helped.|He only grew more awake.|At sunrise he
was still counting.] "Whoever makes me sleep," he said, "shall have my {colour=gem_colours}
{prize=royal_things}."

First came a doctor with {_drink=drinks} and {_food=ingredients}. [The king sneezed all night.|It tasted
awful.|Then the king was not only awake, but also thirsty.] Then came a band with {n=numbers}
{instrument=instruments.s}. [The king danced.|The queen had to get up, too.|Now nobody in the castle could
sleep.]

<child in> {hero=children}, the {trade=trades}'s {hero.young}, was {_age=ages} years old and only came to
bring the {thing=baked.s}. "[What did you do all day, Sir|And what have you done today|What did you do
yesterday]?" {@asked hero}. "[I sat on my throne|I was driven about in a coach|Nothing. Others do it for me|I
looked out of the window]," said the king.

{~}

"Then help me," {@said hero}. {He} let him carry {a _box=containers} of {thing.s}. They went [up the hill and
down|through {_k=numbers} streets|all the way to {_place=outings.the}], and he [chopped wood|fed
{_beast=farm_animals.s}|pulled a cart out of the mud]. At the well, people said thank you to him. [Nobody had
done that before.|He turned quite red.|He looked behind him to see whom they meant.]

<pay> At sunset the king sat down in the straw beside {a _pony=farm_animals}, "only for a moment", and
[snored|slept|was gone]. He slept until noon.

"The {colour} {prize} is yours," he said. "[May I carry the {thing.s} again tomorrow|It was the straw, was it
not|How did you do it]?" {hero} put the {prize} on the shelf at home, {spot=shelf_spots}. [And every morning,
early, there is a knock at the back door.|It is a good place to hang a towel.|The king comes on foot, and is
never late.]
""",
    "tiny_robot": """
<child in> {Hero=children} built a robot out of {a _tin=tins}, {_number=numbers} spoons, and {a
heart=treasures} that {he} put in as its heart. {He} called it {name=robots} and painted {a emblem=emblems} on
its front. <set> "[Good morning|What shall I do|I am here]," it said.

{name} was a good robot. It [buttered the toast|fed the {_pet=pets}|dusted {_spot=spots_in}], and when {hero}
was {_sad=sad}, it [hummed like a kettle|held {his} thumb|told {him} what two and two are]. {He} took it along
{place=town.to}, <out> and there, in the crowd, it was lost. {@ohno} {@cried hero}.

{~}

That night {hero} could not sleep. Far away, {name} was rolling through the wet streets. [Its wheels
squeaked.|{A _dog=dogs} barked at it.|Rain got into its ears.] Somebody picked it up: {junk=folk}, who sold
old iron. "Nice spoons," said {junk}, and put it on a heap.

The next day {hero} came to the yard. There were [heaps and heaps|mountains of tin|a thousand things], and
{name} had no power left to call. {@sad hero} {He} stood quite still.

<pay> Then {he} heard it, very softly, [from the bottom of a heap|from under a stove|between two bathtubs]:
two and two are four. There was the {emblem}! And behind it, when {he} rubbed it clean, the {heart} [was still
in its place|shone|had not been lost].

"[I counted until you came|You are late|I knew you would hear]," said {name}. {junk} would not take any money,
[but {name} oils {junk.his} scales once a month|only a song on the spoons|and had to blow {junk.his} nose].
{@bedtime}
""",
    "giant_cold": """
{@somebody} a giantess called {giant=giants}, and she had a cold. <set> When she sneezed, [roofs flew
off|{_animal=farm_animals.s} rolled down the hill|the church bell rang by itself]. "[I am so sorry|Excuse
me|It comes so suddenly]," she said each time, and cried a little, and then there was a flood as well.

<out child> The people [held a meeting|shook their heads|tied down their roofs]. "[Someone must go up
there|She needs a doctor|She must leave]," said {mayor=folk}. "I will go," cried {hero=children}, who was
{_age=ages} and had just had a cold {himself}. {He} took {a _bag=bags} with {_fruit=fruits.s}, a pot of
{food=remedies}, and the biggest thing in the house: {a colour=colours} {sheet=sheets}.

[The path was steep.|Twice {he} was blown back.|{A _goat=farm_animals} showed {him} the way.] {giant} sat in
front of her cave, and her nose was as big as {a _veg=big_vegetables}, and quite red. "[Go away, little one,
or I shall blow you to {_land=lands}|Hold on to something, I feel one coming|Nobody ever visits me]," she
said.

{~}

{hero} cooked {_drink=drinks} with the {food} in {a _tub=tubs}. {giant} drank it in one gulp. "[Oh|That is
warm all the way down|Another]!" she said. <pay> And then {hero} gave her the {colour} {sheet}, for a
handkerchief. She blew. [It was heard in the next country.|The clouds moved aside.|Three trees fell over, but
those were old.] And the cold was gone.

{@happy hero} "[Now it is so quiet|Thank you, doctor|I can smell the {_flower=flowers.s} again]," said
{giant}, and she put {hero} on her hand and carried {him} home in four steps. [She put all the roofs back as
well, only one was the wrong way round.|Every {_day=weekdays} the children go up the hill and bring her
soup.|On the hill {a colour} flag is flying. That is the {sheet}, on the line.]
""",
}
