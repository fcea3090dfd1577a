/** @file The domain of texts, `s`. */
import { type Domain, domain, letters } from "./domain.ts";
import { occurrences, reversed, swapCase, title, words } from "./python.ts";

const isVowel = (letter: string): boolean => "aeiou".includes(letter);
const filter = (text: string, keep: (letter: string) => boolean): string => [...text].filter(keep).join("");

/** Texts of ASCII words: case, order, letters and slices; lengths, counts and checks. */
export const texts: Domain = domain<string>({
  name: "text",
  variable: "s",
  introductions: ["a text", "a text s", "some text", "the letters s"],
  transforms: [
    {
      name: "upper",
      code: "s = s.upper()",
      phrases: ["make it upper case", "convert the text to capital letters", "turn all letters large"],
      apply: (s) => s.toUpperCase(),
    },
    {
      name: "lower",
      code: "s = s.lower()",
      phrases: ["make it lower case", "convert the text to small letters", "turn all letters small"],
      apply: (s) => s.toLowerCase(),
    },
    {
      name: "swap",
      code: "s = s.swapcase()",
      phrases: ["swap the case", "flip upper and lower case", "exchange small and capital letters"],
      apply: swapCase,
    },
    {
      name: "title",
      code: "s = s.title()",
      phrases: [
        "make each word start with a capital",
        "convert the text to title case",
        "give every word a capital",
      ],
      apply: title,
    },
    {
      name: "reverse",
      code: "s = s[::-1]",
      phrases: [
        "reverse the text",
        "flip the order of the letters",
        "put the letters in reverse order",
        "turn the text around",
      ],
      apply: reversed,
    },
    {
      name: "consonants",
      code: "s = ''.join(c for c in s if c not in 'aeiou')",
      phrases: [
        "remove the small vowels",
        "drop every small vowel",
        "discard all vowels that are small",
        "keep all but the small vowels",
      ],
      apply: (s) => filter(s, (letter) => !isVowel(letter)),
    },
    {
      name: "vowels",
      code: "s = ''.join(c for c in s if c in 'aeiou')",
      phrases: [
        "keep only the small vowels",
        "select every small vowel",
        "drop all but the small vowels",
        "remove all that are not small vowels",
      ],
      apply: (s) => filter(s, isVowel),
    },
    {
      name: "remove",
      code: "s = s.replace('{letter}', '')",
      phrases: [
        "remove every '{letter}'",
        "drop the letter '{letter}'",
        "discard each '{letter}'",
        "cut all copies of '{letter}'",
      ],
      apply: (s, { letter }) => s.replaceAll(letter, ""),
    },
    {
      name: "replace",
      code: "s = s.replace('{letter}', '{other}')",
      phrases: [
        "replace every '{letter}' with '{other}'",
        "turn each '{letter}' to '{other}'",
        "change the letter '{letter}' to '{other}'",
        "write '{other}' in place of each '{letter}'",
      ],
      apply: (s, { letter, other }) => s.replaceAll(letter, other),
    },
    {
      name: "first",
      code: "s = s[:{factor}]",
      phrases: [
        "take the first {factor} letters",
        "keep only the first {factor}",
        "drop all but the first {factor} letters",
        "cut the text to the first {factor}",
      ],
      apply: (s, { factor }) => s.slice(0, factor),
    },
    {
      name: "last",
      code: "s = s[-{factor}:]",
      phrases: [
        "take the last {factor} letters",
        "keep only the last {factor}",
        "drop all but the last {factor} letters",
        "cut the text to the last {factor}",
      ],
      apply: (s, { factor }) => s.slice(-factor),
    },
    {
      name: "skip",
      code: "s = s[{factor}:]",
      phrases: [
        "skip the first {factor} letters",
        "drop the first {factor} letters",
        "remove {factor} letters from the start",
      ],
      apply: (s, { factor }) => s.slice(factor),
    },
    {
      name: "chop",
      code: "s = s[:-{factor}]",
      phrases: [
        "skip the last {factor} letters",
        "drop the last {factor} letters",
        "remove {factor} letters from the end",
      ],
      apply: (s, { factor }) => s.slice(0, -factor),
    },
    {
      name: "stride",
      code: "s = s[::{factor}]",
      phrases: [
        "take one of every {factor} letters",
        "keep one letter in {factor}",
        "step through the text by {factor}",
      ],
      apply: (s, { factor }) => [...s].filter((_, index) => index % factor === 0).join(""),
    },
    {
      name: "repeat",
      code: "s = s * {factor}",
      phrases: ["repeat the text {factor} times", "copy it {factor} times", "make the text {factor} times larger"],
      apply: (s, { factor }) => s.repeat(factor),
    },
    {
      name: "sort",
      code: "s = ''.join(sorted(s))",
      phrases: ["sort the letters", "put the letters in increasing order", "order the letters"],
      apply: (s) => [...s].sort().join(""),
    },
    {
      name: "squeeze",
      code: "s = s.replace(' ', '')",
      phrases: ["remove the spaces", "drop every space", "join all the words"],
      apply: (s) => s.replaceAll(" ", ""),
    },
    {
      name: "prefix",
      code: "s = '{letter}' + s",
      phrases: ["put '{letter}' at the start", "add '{letter}' before the text"],
      apply: (s, { letter }) => letter + s,
    },
    {
      name: "suffix",
      code: "s = s + '{letter}'",
      phrases: ["put '{letter}' at the end", "add '{letter}' after the text"],
      apply: (s, { letter }) => s + letter,
    },
    {
      name: "reverse-words",
      code: "s = ' '.join(s.split()[::-1])",
      phrases: ["reverse the words", "flip the order of the words", "put the words in reverse order"],
      apply: (s) => words(s).reverse().join(" "),
    },
  ],
  reducers: [
    {
      name: "itself",
      code: "return s",
      phrases: ["return the text", "return the result", "give it back", "return what is left"],
      apply: (s) => s,
    },
    {
      name: "length",
      code: "return len(s)",
      phrases: ["return the length", "return how many letters there are", "count the letters"],
      apply: (s) => s.length,
    },
    {
      name: "count-vowels",
      code: "return sum(c in 'aeiou' for c in s)",
      phrases: [
        "return how many small vowels there are",
        "count the small vowels",
        "give back the count of small vowels",
      ],
      apply: (s) => filter(s, isVowel).length,
    },
    {
      name: "count-letter",
      code: "return s.count('{letter}')",
      phrases: [
        "return how many '{letter}' there are",
        "count the letter '{letter}'",
        "give back the count of '{letter}'",
      ],
      apply: (s, { letter }) => occurrences(s, letter),
    },
    {
      name: "count-words",
      code: "return len(s.split())",
      phrases: ["return how many words there are", "count the words", "give back the count of words"],
      apply: (s) => words(s).length,
    },
    {
      name: "palindrome",
      code: "return s == s[::-1]",
      phrases: [
        "return whether it reads the same in reverse",
        "check that it equals its reverse",
        "tell whether it is a mirror",
      ],
      apply: (s) => s === reversed(s),
    },
    {
      name: "contains",
      code: "return '{letter}' in s",
      phrases: [
        "return whether '{letter}' is present",
        "check that '{letter}' is in it",
        "tell whether it has '{letter}'",
      ],
      apply: (s, { letter }) => s.includes(letter),
    },
    {
      name: "words",
      code: "return s.split()",
      phrases: ["return the list of words", "give back the words", "split it to words"],
      apply: words,
    },
  ],
  inputs(random) {
    const alphabet = [...letters, ..."aeiotsrnAETSbx"];
    const word = (low: number, high: number): string =>
      Array.from({ length: random.integer(low, high) }, () => random.pick(alphabet)).join("");
    const sentence = (count: number): string => Array.from({ length: count }, () => word(2, 5)).join(" ");
    const half = word(2, 4);
    return [
      sentence(random.integer(2, 4)),
      sentence(random.integer(2, 4)),
      sentence(random.integer(3, 4)),
      sentence(2) + "  " + word(1, 3), // two spaces: words are not what stands between single ones
      word(4, 7),
      half + reversed(half), // a mirror
      word(1, 1),
      "",
    ];
  },
});
