"""Phrases that many plots share: openings, weather, feelings, ways to speak, search, thank, and close."""

from __future__ import annotations

RULES: dict[str, str] = {
    # Openings that introduce a child as the hero.
    "child": """
        <child> [3*Once upon a time, there was {a _trait=traits} {hero=children.kid} named {hero}.|Once there
        was {a _trait=traits} {hero=children.kid} called {hero}.|There was once a {hero=children.kid} named
        {hero}, who lived {_home=homes}.|{Hero=children} was {a _trait=traits} {hero.kid} who lived
        {_home=homes}.|{Hero=children} was {_age=ages} years old and very {_trait=traits}.|{_Home=homes} lived
        a {hero=children.kid} named {hero}.|This is a story about {hero=children}, {a _trait=traits}
        {hero.kid} from a small town.|Do you know {hero=children}? {He} was the most {_trait=traits}
        {hero.kid} in the whole street.|In a town not far from here there lived {a _trait=traits}
        {hero=children.kid}. {His} name was {hero}.|{Hero=children} lived with {his} {_kin=elders}
        {_home=homes}.|Everyone in the village knew {hero=children}, the {_trait=traits} {hero.kid} with the
        [big boots|curly hair|loud laugh|missing tooth|wild hair|round glasses|muddy knees|long braid|patched
        coat].|Long before you were born, {a _trait=traits} {hero=children.kid} named {hero} lived
        {_home=homes}.]
    """,
    # Around a whole story: who tells it, and a last word.
    "prelude": """
        [30*|My {_kin=elders} told me this story [once|many times|when I was small|one {_season=seasons}
        evening]. |This happened [last {_season=seasons}|one {_season=seasons}|in {_month=warm_months}, or
        perhaps in {_month2=cold_months}|long before there were buses]. |I heard this from {a _trade=trades},
        [and it is true|who had seen it all|while it rained]. |Listen! Here is a story with {a _thing=fruits}
        in it. |Are you sitting well? Then I will begin. |The {_bird=birds.s} still talk about
        this. |{_Folk=folk} likes to tell this story, and [always laughs|tells it well]. |Here is a story for
        {a _bright=moods} evening. |This story lasts as long as {a _snack=baked}. |People still speak of
        this. |You may not believe this, but {a _animal=farm_animals} saw it. ]
    """,
    "coda": """
        [30*| That is the whole story.| And if you do not believe it, ask {_folk=folk}.| The {_bird=birds.s}
        saw it all.| So it was, and not otherwise.| {hero} still tells it, and {he} tells it well.| And now it
        is your turn to tell one.| Good night!| That was {_number=numbers} years ago.| And there was {a
        _baked=baked} left over, which I ate.| They tell it still.| The rest you can think of yourself.| The
        {_litter=litter} is another story.| {hero} keeps {a _thing=treasures} to remember it by.| Tomorrow you
        shall have the one about the {_animal=big_animals}.| I think it was {_day=weekdays}.]
    """,
    "somechild": """
        <child> [There was once a {hero=children.kid} named {hero}.|{Hero=children} was {_age=ages} years
        old.|Once there was {a _trait=traits} {hero=children.kid} called {hero}.|{Hero=children} was {a
        _trait=traits} {hero.kid}.|Once upon a time there lived a {hero=children.kid} named {hero}.]
    """,
    "when": """
        [One {_bright=bright} {_part=parts}|One {_part=parts} in {_month=warm_months}|On {_day=weekdays}
        {_part=parts}|One fine day|One {_day=weekdays}|Early one morning|Late one afternoon|One day after
        lunch|On the first day of {_month=warm_months}|One {_bright=bright} day in {_month=warm_months}|On {a
        _bright=bright} {_part=parts}|One day]
    """,
    "later": """
        [The next day|The next morning|The following afternoon|A day later|On {_day=weekdays}|Two days
        later|Soon after|Early the next morning|The day after that]
    """,
    "aweeklater": """
        [A week later|After {_few=numbers} days|One week passed. Then|Some days later|Before the month was
        over|By the end of {_month=warm_months}|A few weeks later|On the last day of the month]
    """,
    # Weather and what is around, outdoors by day.
    "fine": """
        [!The sun was warm and the sky was blue.|It was {a _bright=bright} day.|The air smelled of
        {_smell=smells}.|A soft wind was blowing, and {a _bird=songbirds} sang in the {_tree=trees}.|White
        clouds sailed over the roofs.|There was not a cloud in the sky.|The {_flower=flowers.s} were out, and
        there were {_bug=winged.s} everywhere.|It was so warm that even the {_animal=pets.s} lay in the
        shade.|Far away one could hear {_noise=noises}.|Little clouds ran across the sky like lambs.|The whole
        world smelled of {_smell=smells}.|{A _bird=songbirds} was singing as loudly as it could.|The grass was
        still wet with dew.]
    """,
    "rainy": """
        [!It was raining hard.|Rain drummed on the roof.|It had rained since breakfast.|The rain ran down the
        windows.|Thick grey clouds hung over the houses.|It was a wet and {_grim=grim} day.|Outside it rained
        and rained.|The gutters gurgled and the puddles grew.|Everything outside was grey and wet.]
    """,
    "snowy": """
        [!Snow lay on the roofs and the fences.|It had snowed all night.|The whole world was white.|It was {a
        _icy=icy} morning, and the snow creaked under every step.|Big flakes fell from a grey sky.|Icicles
        hung from the roofs like glass teeth.|The pond was frozen, and the snow was as soft as flour.|Frost
        had painted flowers on the windows.]
    """,
    "nightfall": """
        [!The moon rose over the roofs.|Stars came out, first one, then {_many=numbers}, then too many to
        count.|It grew dark, and a cold wind blew.|The lamps were lit in all the houses.|Somewhere {a
        _bird=birds} called.|The night was as black as a cellar.|The house was still, and only the clock went
        on ticking.|A thin moon hung over the {_tree=trees}.|It was so quiet that one could hear
        {_noise=noises} far away.]
    """,
    # Feelings.
    "sad": """
        [!{who} felt very {_sad=sad}.|{who} wanted to cry.|Tears came to {who}'s eyes.|{who} did not know what
        to do.|{who}'s heart sank.|A big tear rolled down {who}'s nose.|{who} sat down and put {who.his} head
        in {who.his} hands.|"Oh no," {who} whispered.|{who}'s lip began to tremble.|Poor {who} was
        {_sad=sad}.|{who} swallowed hard.|{who} sniffed and wiped {who.his} eyes.|{who} turned quite pale.]
    """,
    "happy": """
        [!{who} was so {_happy=happy} that {who.he} [clapped|sang|danced|jumped up and down|could not
        speak|laughed out loud|hugged everyone].|{who} felt very {_happy=happy}.|{who} beamed.|{who}'s face
        lit up.|{who} laughed for joy.|{who} smiled from ear to ear.|How {_happy=happy} {who} was!|{who}
        hopped from one foot to the other.|{who}'s eyes shone.|{who} did a little dance.|{who} felt warm all
        over.|{who} could not stop smiling.]
    """,
    "afraid": """
        [!{who} was very {_scared=scared}.|{who}'s knees shook.|{who}'s heart beat like a drum.|{who} held
        {who.his} breath.|A shiver ran down {who}'s back.|{who} felt {_scared=scared}.|{who} did not dare to
        move.|{who} shut {who.his} eyes.|{who} swallowed and stood quite still.|{who}'s mouth went dry.]
    """,
    # Speech: what stands after or before the quoted words.
    "said": """
        [3*said {who}|2*said {who}, and {@gesture who}|2*{who} said|said {who} {_way=softly}|{who} said
        {_way=softly}|2*said {who} {_way=quickly}]
    """,
    "says": """
        [3*said {who}|2*{who} said|said {who} {_way=softly}|{who} said {_way=softly}|2*said {who}
        {_way=quickly}]
    """,
    "replied": """
        [3*said {who}|said {who}, and {@gesture who}|{who} said|answered {who}|{who} replied|answered {who}
        {_way=softly}|{who} answered]
    """,
    "asked": """
        [3*asked {who}|{who} asked|{who} wanted to know|asked {who} {_way=softly}|{who} asked {_way=softly}]
    """,
    "cried": """
        [2*cried {who}|{who} cried|shouted {who}|{who} called out|called {who}|{who} shouted|exclaimed {who}]
    """,
    "whispered": """
        [whispered {who}|{who} whispered|said {who} in a small voice|murmured {who}|{who} said very quietly]
    """,
    "saidkin": """
        [2*said {his} {who}|{his} {who} said|said {his} {who} {_way=softly}|answered {his} {who}|{his} {who}
        replied]
    """,
    "saidthe": """
        [3*said the {who}|the {who} said|answered the {who}|said the {who} {_way=softly}|the {who} replied]
    """,
    "askedthe": """
        [2*asked the {who}|the {who} asked|the {who} wanted to know|asked the {who} {_way=softly}]
    """,
    "looks": """
        [with {a _hat=hats} on|with {a _colour=colours} {_hat=hats}|with {a _snack=snacks} in one hand|in {a
        _colour=colours} {_coat=coats}|on {a _colour=colours} {_wheels=wheels}|with freckles|with {a
        _pet=pets} on a lead|with a bag full of {_thing=fruits.s}|with paint on {who.his} nose|who was eating
        {a _snack=snacks}|who was whistling a tune|with a bandage on one knee]
    """,
    "play": """
        [!climbed {a _tree=trees}|ran after {a _bug=winged}|played {_game=games} with some children|lay down
        and looked at the clouds|picked {_flower=flowers.s}|built a house for {a _bug=bugs}|fed crumbs to {a
        _bird=birds}|counted {_flower=flowers.s}|blew on a blade of grass|made a crown of
        {_flower=flowers.s}|hopped on one leg around {a _tree=trees}|watched two {_bug=bugs.s} at work|drew {a
        _animal=big_animals} in the dust]
    """,
    "critter": """
        <critter> [2*Once upon a time, {a _trait=traits} {kind=small_animals} named {hero=critters} lived
        {_den=dens}.|{_Den=dens} lived {a _trait=traits} {kind=small_animals} called
        {hero=critters}.|{Hero=critters} was {a _trait=traits} {kind=small_animals} who lived
        {_den=dens}.|Deep in the woods, {_den=dens}, lived {hero=critters} the
        {kind=small_animals}.|{Hero=critters} the {kind=small_animals} was [the smallest of all|known as the
        most {_trait=traits} animal in the valley|as {_trait=traits} as could be|neither big nor strong].|If
        you had walked through the woods [last {_season=seasons}|at sunrise|in {_month=warm_months}], you
        might have met {hero=critters}, {a _trait=traits} {kind=small_animals}.]
    """,
    "gesture": """
        [smiled|nodded|looked up|blushed a little|scratched {who.his} ear|pulled at {who.his} sleeve|looked
        around|winked|rubbed {who.his} nose|took a deep breath|clapped {who.his} hands|pointed at the
        sky|blinked|stood up very straight|kicked at a stone|stamped one foot|laughed a
        little|swallowed|leaned closer|sneezed|yawned|waved one hand|hopped once|tilted {who.his} head|looked
        at {who.his} feet|looked {@somewhere}|coughed]
    """,
    "somewhere": """
        [at {a _tree=trees}|up at {a _bird=birds}|down at {a _bug=bugs}|into the distance|at nothing at all]
    """,
    "somebody": """
        [There once was|There was once|Once there was|In the old days there was|Far away there was]
    """,
    "thanks": """
        [!"Thank you, {who}!"|"Oh, thank you!"|"Thank you so much!"|"Thank you, thank you!"|"You are so kind,
        {who}!"|"How can I ever thank you?"|"That is the nicest thing anyone has done for me!"|"What would I
        do without you?"]
    """,
    "welcome": """
        [!"You are welcome,"|"It was nothing,"|"I was glad to help,"|"That is what friends are for,"|"Any
        time,"|"Don't mention it,"]
    """,
    "ohno": """
        [!"Oh no!"|"Oh dear!"|"Oh dear, oh dear!"|"Not again!"|"How awful!"|"What now?"|"Goodness me!"|"This
        is terrible!"]
    """,
    "hooray": """
        [!"Hooray!"|"Hurrah!"|"At last!"|"We did it!"|"How wonderful!"|"Look at that!"|"Oh, how lovely!"|"I
        can hardly believe it!"]
    """,
    "dontcry": """
        [!"Don't cry,"|"Don't be sad,"|"Dry your eyes,"|"There, there,"|"Don't worry,"|"Cheer up,"|"Now,
        now,"]
    """,
    "whatswrong": """
        [!"What is the matter?"|"What is wrong?"|"Why do you look so sad?"|"Why are you crying?"|"What
        happened?"|"What has happened to you?"|"Whatever is the matter?"]
    """,
    "idea": """
        [!Then {who} had an idea.|All at once {who} knew what to do.|{who} thought hard. Then {who.he}
        smiled.|{who} thought and thought, and at last {who.he} had an idea.|But {who} did not give up.|{who}
        scratched {who.his} head. "I know!" {who.he} said.|A plan came into {who}'s head.|"Wait," said {who}.
        "I have an idea."]
    """,
    # Looking for something; indoors and outdoors have their own spots.
    "search": """
        [!{hero} looked high and low.|?out {hero} looked {_spot=spots_out}. {He} looked
        {_spot2=spots_out}.|?in {hero} looked {_spot=spots_in} and {_spot2=spots_in}.|?out {He} searched
        {_spot=spots_out}, and then {_spot2=spots_out}.|?in {He} even looked {_spot=spots_in}.|{He} looked
        left and right, up and down.|?out {hero} went back the way {he} had come and looked at every
        stone.|?in {hero} turned the whole room upside down.]
    """,
    "nothing": """
        [!But it was not there.|Nothing!|It was nowhere to be seen.|No luck.|But all {he} found was {a
        _litter=litter}.|There was only {a _litter=litter} and some dust.|There was nothing there but {a
        _bug=bugs}.|But it was gone.]
    """,
    # Closing lines.
    "bedtime": """
        [!That night {hero} fell asleep with a smile.|At bedtime {hero} told the whole story to {his}
        pillow.|That evening {hero} was {_tired=tired}, but very {_happy=happy}.|When {hero} went to bed, {he}
        was still smiling.|And that night {hero} slept like a stone.|Before {he} fell asleep, {hero} thought
        of it once more.|That night {hero} dreamed of {_bright=bright} days and {_flower=flowers.s}.|In bed,
        {hero} laughed once more in the dark.]
    """,
    "everafter": """
        [!From that day on, they were the best of friends.|They stayed friends all their lives.|And after that
        they met every {_day=weekdays}.|They are friends to this day.|From then on, one was seldom seen
        without the other.|And so a new friendship began.|They shook hands on it, and they have been friends
        ever since.]
    """,
    "meal": """
        [!Then they all had {_dish=dishes} and {_drink=drinks}.|There was {_dish=dishes} for supper, and
        nobody left a crumb.|They went home to {_dish=dishes} and {_drink=drinks}.|Afterwards they shared {a
        _baked=baked}.|To celebrate, they ate {_baked=baked.s} until they could eat no more.|They drank
        {_drink=drinks} and talked until dark.|That evening there was {_drink=drinks} and a big plate of
        {_baked=baked.s}.]
    """,
}
"""Name -> text; the words a phrase is about are given in `PARAMETERS`."""

PARAMETERS: dict[str, tuple[str, ...]] = dict.fromkeys(
    """sad happy afraid said replied asked cried whispered saidkin saidthe askedthe thanks idea looks gesture says""".split(),
    ("who",),
)
