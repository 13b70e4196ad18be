"""The text of the canary: ordinary English, because there the rounding of half precision moves log-probabilities least.

Changing a word makes a checkpoint incomparable with earlier ones. Engines are then opened anew once.
"""

_TEXT = """
The harbour lay quiet in the early morning. Two fishing boats had already left, and a third was being loaded
with nets and ice by a man who whistled while he worked. Behind him the bakery opened its shutters, and the
smell of fresh bread drifted down to the water, as it did every day of the week except Sunday.

To find the average of a list of numbers, add them all together and divide the sum by how many numbers there
are. For example, the average of 4, 8 and 15 is 27 divided by 3, which is 9. If one of the numbers is much
larger than the others, the median is often a better description of what is typical.

Plants make sugar from sunlight, water and carbon dioxide. The green pigment in their leaves absorbs the
light, and its energy splits water into hydrogen and oxygen. The oxygen escapes into the air through small
openings on the underside of the leaf, while the hydrogen is used to build the sugar that feeds the plant.

Dear Mrs. Miller, thank you for your letter of the third of March. We are sorry to hear that the chair arrived
with a broken leg. A new one will be sent to your address this week, free of charge, and our driver will take
the damaged one with him. Please call us if you have any further questions.

def count_words(text):
    counts = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts
for word, count in sorted(count_words(page).items()):
    print(word, count)
if __name__ == "__main__":
    main()

What should I pack for a weekend in the mountains? Take warm clothes in several layers, a rain jacket, and
shoes with a firm sole. A map is still useful where there is no signal. Carry more water than you think you
will need, something to eat, a small light, and tell somebody at home which way you mean to go.

In the middle of the nineteenth century the railway changed how people thought about distance. A journey that
had taken four days by coach now took one, and towns that had been far apart became neighbours. Clocks had to
agree, because a timetable is of no use when every town keeps its own time.

Heat the oil in a large pan, add the chopped onion, and cook it slowly until it is soft. Stir in the garlic,
the tomatoes and a pinch of salt, and let everything simmer for twenty minutes. Meanwhile boil the pasta in
plenty of water. Drain it, mix it with the sauce, and serve it with a little grated cheese.
"""

PASSAGES = tuple(_TEXT.strip().split("\n\n"))
