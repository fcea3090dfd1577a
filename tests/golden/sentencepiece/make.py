"""Trains two small models with SentencePiece (set as Llama's was) and says how it encodes and decodes some texts. Needs:
pip install sentencepiece==0.2.3. Run in this folder."""
import io
import json
import sentencepiece

corpus = """def fibonacci(n: int) -> int:
    if n < 2:
        return n
    return fibonacci(n - 1) + fibonacci(n - 2)
for i in range(10):
    print(f"the {i}th number is {fibonacci(i)}")
Write a function that returns the sum of all even numbers of a list.
The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs.
class Stack:
    def __init__(self):
        self.items = []
    def push(self, item):
        self.items.append(item)
    def pop(self):
        return self.items.pop()
Élan, naïve, façade, über: words with accents. 日本語のテキスト。 Ελληνικά. 🎉
""".splitlines()
texts = ["", " ", "Hello world", "  two  spaces", "def f(n):\n    return n + 1\n", "tab\tand\nline", "1234567890",
         "naïve façade über", "日本語", "🎉🎊 unseen", "for i in range(10):", "\u00a0nbsp", "the function the function",
         "aaaaaaaaaaaa", "return self.items"]
cases = {}
for name, prefix in {"prefixed": True, "bare": False}.items():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, model_type="bpe", vocab_size=420, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix, split_digits=True,
        character_coverage=0.99995, allow_whitespace_only_pieces=True, minloglevel=2)
    open(f"{name}.model", "wb").write(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    cases[name] = [dict(text=text, ids=processor.encode(text), decoded=processor.decode(processor.encode(text)))
                   for text in texts]
json.dump(cases, open("cases.json", "w"), ensure_ascii=False)
unigram = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=unigram, model_type="unigram",
                                         vocab_size=100, normalization_rule_name="identity", minloglevel=2)
open("unigram.model", "wb").write(unigram.getvalue())
