"""Plots about friends: promises, quarrels and presents."""

from __future__ import annotations

PLOTS: dict[str, str] = {
    "borrowed_tool": """
{@child} [{He} was building {a house=built} for {a pet=small_animals}|{He} wanted to build {a house=built} for
{a pet=small_animals}], but {he} had no {tool=tools}.

<set> So {he} knocked on {owner=folk}'s {colour=colours} door. "[May I borrow your {tool}|Could you lend me {a
tool}]?" {@asked hero}.

"[You may|Of course|Gladly]," {@said owner}. "But bring it back before [the bell rings|the sun goes
down|supper]. I need it for my {_thing=flowers.s}." <take owner tool> <give owner hero tool> {hero}
[promised|gave {owner.his} hand on it|nodded many times].

<out> {He} worked [all afternoon|like {a _animal=farm_animals}|until {his} arms ached]. {@fine} The {house}
grew, and the {pet} [sat and watched|sniffed at every plank|moved in before the roof was on].

{~}

Then {hero} saw [that the sun was low|how long the shadows were|the first lamp in a window]. The {tool}! {He}
[ran|raced|flew] down the street [so fast that {he} lost {a _shoe=shoes}|with {a _pet2=dogs} barking behind
{him}|and jumped over {a _litter=litter}], and came to the {colour} door [just in time|out of breath].

<pay> <give hero owner tool> "[Here it is|I kept my promise]," {hero} panted. {owner} looked at the {tool},
which was {_state=clean}, and then at {hero}. "[That is how one borrows|I knew you would come]," {owner.he}
said. "[Next time you may have my {_tool2=tools} as well|Come in. There is {_drink=drinks}|Whoever brings
things back may always come again]."
""",
    "quarrel": """
<child> [In the playground|In the school yard|Behind the school] there was only one {colour=colours}
{toy=shared_toys}, and both {hero=children} and {friend=children} wanted it. <out> <set>

"I had it first!" {@cried hero}. "You had it on {_day=weekdays}!" {@cried friend}. They pulled, and pulled.
[There was a crack.|It went crack.|Then came a nasty noise.] Now the {toy} was broken, and it was nobody's.

They did not [speak|look at each other|say one word] for {_few=numbers} days. {hero} [played {_game=games}
alone|sat under {a _tree=trees} alone|counted {_bug=bugs.s} alone]. {friend} [did the same|fed {_bird=birds.s}
alone|had nobody to tell jokes to]. {@sad hero}

{~}

Then one morning {hero} took {a tool=menders} and [some glue|a pot of paint|a bit of string] and went to the
{toy}. But somebody was there already: {friend}, with {a tool2=menders}.

["I was going to mend it," they both said, at the same time.|They looked at each other. Then both began to
laugh.|"You too?" {@asked hero}. {friend} nodded.] {hero} held it, and {friend} did the rest. In the evening
the {toy} was whole again, though a bit crooked.

<pay> "You have it first," {@said hero}. "No, you!" {@said friend}. [And that was their last quarrel of the
{_season=seasons}.|In the end they threw a coin.|So they nearly quarrelled again.] {@everafter}
""",
    "new_child": """
<child in> "This is {friend=children}," said {teacher=folk}. "{Friend.he} comes from {land=lands}, and
{friend.he} is new."

<set> {friend} said nothing. {Friend.he} [looked at the floor|sat down in the last row|held on to {friend.his}
bag]. From the bag hung {a colour=colours} {charm=emblems} made of wool. At noon {friend.he} ate {friend.his}
{_dish=dishes} alone, and [the others whispered|nobody sat beside {friend.him}|drew {a _animal=big_animals} on
a napkin].

{hero=children} [watched|saw it all|thought about it]. {He} remembered [{his} own first day|how it was to know
no one|the day {he} had moved here from {_land=lands}]. That night {he} asked {his} {elder=elders} for [wool|a
needle and some wool]. [It took until bedtime.|It was hard work. The first one looked like {a
_veg=vegetables}.|{hero} pricked {his} thumb {_number=numbers} times.]

{~}

The next morning something {colour} hung from {hero}'s bag, too. {friend} stopped and looked. <pay> "Is that
{a charm}?" It was the first thing {friend.he} had said in that school.

"It should be," {@said hero}. "Mine came out [a bit fat|crooked|too small]. Will you show me how?"

{@happy friend} "[Look, you go round like this|You must start in the middle|First you need {a _tool=hooks}],"
{friend.he} said. <join friend> [In the end the whole class had one.|By {_day=weekdays}, all the bags in class
had one.|And {friend} taught {him} to count to ten in {friend.his} language as well.] {@everafter}
""",
    "surprise_party": """
<child> It was {hero=children}'s birthday, and nobody seemed to know. At breakfast there was {_dish=dishes},
as always. [{His} {_kin=elders} read the paper.|Outside, {a _bird=birds} called.|Nobody sang.]

<set> <out> Then {hero} met {friend=children}, who was carrying something under {a colour=colours}
{cloth=coats}. "What have you got there?" {@asked hero}. "[Nothing|Only {a _veg=vegetables}|A sick
{_animal=pets}]!" cried {friend}, and ran away.

{hero} went to {other=children}. But {other} [had to water the {_flower=flowers.s}|had no time|shut the door],
and behind {other.him} it smelled of {_fruit=fruits.s} and sugar. [Everybody was so strange today.|What was
going on?] {@sad hero}

{~}

At {hour=hours} {hero} came home, and it was dark and still. {He} opened the door of the kitchen. "Surprise!"
There were [lamps made of {_veg2=vegetables.s}|paper {_emblem=emblems.s} on strings|{_n=numbers} candles],
there was {other} with a huge {cake=baked}, and there, on the table, was something under {a colour} {cloth}.

<pay> "[So it was not {a _litter=litter}|So that was it]!" {hero} pulled the {cloth} away, and out
[jumped|rolled|fell] {a gift=toys}.

"[We thought you would guess|It was so hard to say nothing|I ran because I cannot lie]," {@said friend}.
{@happy hero} {@meal} [{@bedtime}|And next year {hero} will be just as surprised.|It was the best birthday
since the last one.]
""",
    "sick_friend": """
<in> {@rainy} {@child} <set> {His} best friend {friend=children} was ill in bed, [with a red nose|with a cough
like {a _animal=barkers}|with spots from head to toe], and could not go to the {feast=feasts}.

"You will miss {a show=instruments} as big as a house," {@says hero}, "and the {colour=colours}
{treat=baked.s}." {friend} [turned to the wall|sighed|blew {friend.his} nose]. "[I shall see nothing|Tell me
about it]," {@whispered friend}. "[I will bring it to you|Then the {feast} will come here|Wait and see],"
{hero} promised.

<out town> So {hero} went to the {feast} with {a box=containers}. {He} [saw {_animal=farm_animals.s} in a
ring|heard {_thing=noises}|won {a prize=toys} by throwing hoops], but {he} did not [stay long|forget|stop for
long].

{~}

<in -town> In the evening there was a knock at {friend}'s door. <pay> {hero} opened the {box}. Out came {a
colour} {treat}, [still warm|hardly squashed|wrapped in paper]. Then {hero} [blew through {his} hands like the
big {show}|was the big {show}, as loud as {he} could], [with cheeks like {_fruit=fruits.s}|until the
neighbours knocked|and marched around the bed].

{@happy friend} {Friend.he} laughed until {friend.he} coughed, and coughed until {friend.he} laughed. "[That
was the best {feast} ever|I feel better already|Do the {show} again]," {friend.he} said. [{@bedtime}|Two days
later {hero} had a red nose, too.|A week later they went fishing together.]
""",
    "race": """
<out> Every {_season=seasons} there was a race from {start=outings.the} to {goal=town.the}, and every time
{rival=children} won. <set> The prize was {a colour=colours} {prize=prizes}. <child> {hero=children}, who was
{a _trait=traits} {hero.kid}, had never even been {_place=ordinals}.

This year {he} practised. {He} ran [to school|before breakfast|up and down the stairs], {he} ran [after
{_bird=birds.s}|with {a _pet=dogs}|in the rain], and {he} ate {_veg=vegetables.s}, since {his} {_kin=elders}
said they were good for the legs.

"Ready, steady, go!" shouted {_folk=folk}. [Dust flew.|{_Count=numbers} children ran.|Hats flew off.] {rival}
was in front, as always, but {hero} was right behind.

{~}

Then, at a bend by {a _tree=trees}, {rival} [stepped on {a _fruit=fruits}|tripped over {a
_root=litter}|slipped in the mud] and fell. {hero} [ran past|was first|was alone]! {He} could already see the
flags. But behind {him} somebody [was crying|called "Ow!"|did not get up]. {hero} stopped. {He} went back.

"[Put your arm around me|Lean on me|Up you get]," {@said hero}. They hobbled on together, and everybody
overtook them, even {_last=last_ones}.

<pay> The {colour} {prize} went to somebody else. But {rival} [took off {rival.his} own medal from last
year|went home and came back with last year's prize|unpinned the badge {rival.he} always wore] and gave it to
{hero}. "[This is for the best runner I know|You earned it|I only ran. You came back]," {rival.he} said.
{@everafter}
""",
    "broken_and_told": """
{@child} <in> <set> On {owner=elder_names}'s shelf stood {a colour=colours} {pot=breakables} with {a
emblem=emblems} on it. "[It is older than I am|It came over the sea with my mother|I would not sell it for a
house]," {owner} always said.

{@rainy} So {hero} played with {his} {toy=rollers2} indoors, although that was not allowed. [It rolled.|It
bounced.|One kick too many.] There was a crash. {@ohno} {@whispered hero}.

What now? {He} could say that {a _pet=pets} had done it. {He} could [hide the pieces {_spot=spots_in}|go to
{_land=lands} and never come back|eat {a _snack=snacks} and wait]. {@afraid hero}

{~}

When {owner} came home, {hero} was standing in the hall with the pieces in {a _box=containers}. "[I did it|It
was me]," {he} said. "With the {toy}. [I am so sorry|You may be angry now|I will give you all my
{_thing=treasures.s}]."

{owner} was [quiet for a while|silent for as long as it takes to count to {_n=numbers}]. Then {owner.he}
fetched a pot of glue. "[Sit down|Hold this piece|I was your age once]," {owner.he} said. "A thing can be
mended. [A lie is harder to glue|You told me, and that is worth more]."

They worked until supper. <pay> In the end the {pot} stood on the shelf again, {colour} as ever, and across
the {emblem} ran a thin crack. ["I like it even better now," {@said owner}.|It is there to this day.|"That is
where the truth got in," {owner} liked to say.]
""",
    "swap_chain": """
<child out> {Hero=children} wanted {a wish=pets_wanted} more than anything. <set> But all {he} had was {a
first=treasures}.

"[Would you swap|What will you give me]?" {he} asked {one=folk}, who had lost one just like it. <take hero
first> <give hero one first> {one} gave {him} {a second=tools} for it. <take hero second>

{A _pet=farm_animals} looked over a fence and said nothing. {hero} went on, and met the {trade=trades}. "[Just
what I need|Mine broke on {_day=weekdays}]!" cried the {trade}, took the {second}, and gave {hero} {a
third=hats}. <drop hero second> <take hero third>

{~}

At the bridge sat {two=folk} with a sunburnt head. "My poor head! Will you give me that {third} for {a
fourth=baked}?" <give hero two third> <take hero fourth> So {hero} walked on with {a fourth}, and it smelled
so good that {he} had to [hold {his} nose|sing to keep {his} mouth busy|walk faster].

Then {he} came to a farm. In the yard stood {farmer=folk}, who [had eaten no breakfast|was as thin as a
rake|had burnt the soup]. Around {farmer.his} legs ran {_number=numbers} little {wish.s}. ["I have too many of
these," {@says farmer}, "and nothing to eat."|"They eat, and I don't," {@said farmer}.]

<pay> <give hero farmer fourth> And so it was that {hero} came home with {a wish}. "[What did you pay for
it|Where did you get that]?" asked {his} {_kin=elders}. "One {first}," {@says hero}, and that was [true|almost
true|the truth, if you think about it].
""",
    "proud_one": """
<child out> Nobody could {skill=skills} like {hero=children}, and nobody said so more often than {hero}.
"[Look at me|Watch this|I am the best in the whole of {_land=lands}]!" {he} called from morning till night.

<set> "Could you teach me?" asked little {friend=children}. "You? [You are too small|You would need
{_n=numbers} years|Go and play with your {_toy=small_toys}]!" laughed {hero}. {@sad friend} But {friend.he}
went home and tried, behind the {_tree=trees}, [where only {a _animal=pets} could see|every day after
supper|until the {_flower=flowers.s} closed].

Then came the day of the {feast=feasts}. {hero} climbed on {a _seat=furniture} in front of everybody, in {a
colour=colours} {_coat=coats}. "And now, {feast} guests: me!" {he} cried, took a deep breath, and
[sneezed|forgot how to begin|fell into {a _box=containers}]. ["Ha, ha!" went the crowd.|Everyone laughed.|It
was very quiet, and then it was very loud.] {@afraid hero}

{~}

<pay> All at once somebody stood beside {him}. It was {friend}. "[We do it together|This was only the
beginning|Now comes the second part]," {@said friend}, and began. And {friend} could {skill}! Not as well as
{hero}, but [with all {friend.his} heart|much louder|with a smile]. So {hero} joined in.

How they clapped! [An old {_trade=trades} threw {a _hat=hats} in the air.|Even the {_beast=farm_animals.s}
seemed to listen.] "[I am sorry I laughed|You are not too small at all|I was wrong about you]," {@said hero}.
"[I watched you every day|Never mind|You taught me, without knowing it]," {@said friend}. And since then
{hero} has said "we".
""",
    "pen_friend": """
<child> {Hero=children} lived in the hills and had never seen the sea. {Friend=children} lived by the sea and
had never seen a hill. <set> Every {_month=cold_months} [since they could write|for {_n=numbers} years] they
had sent each other letters, with {a colour=colours} stamp on them.

"[What is it like|Tell me how it smells] where you live?" wrote {hero}. "[Salty|Loud|Wet]," wrote {friend},
"and there are {animal=sea_animals.s}. And with you?" "Green," wrote {hero}, "[with {_tree=trees.s} on top|and
the {_bird=birds.s} wake you|and it smells of {_smell=smells}]."

<in> One {_day=weekdays} {hero} put {a gift=hill_gifts} into a box and wrote on it: For {friend}. {He} carried
it to the post office [in both hands|on {his} sled|through wind and weather]. [It was the only one {he}
had.|It was not easy to part with it.|"Careful," {he} told the clerk.]

{~}

<pay> On the very same day, a box came for {him}. Inside lay {a gift2=sea_gifts}, and a note: "[So that you
can hear my home|Put it under your pillow|This is a piece of my beach]. {friend}." {@happy hero}

Somewhere on the road the two boxes must have [passed each other|said good day to each other|lain side by
side]. And by the sea, {friend} was [just holding the {gift} to {friend.his} nose|showing the {gift} to {a
_animal2=pets}|putting the {gift} on the windowsill].

[In summer they met at last, halfway, and had so much to say that they said nothing for an hour.|They are old
now, and still the letters go to and fro.|"Next time I will bring mine myself," {hero} wrote. And so {he}
did.]
""",
}
"""Name -> story in the notation of `notation.py`."""
