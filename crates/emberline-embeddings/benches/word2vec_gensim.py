"""An epoch of word2vec in gensim, for benches/word2vec.rs.

    python word2vec_gensim.py corpus.txt
"""

import json
import sys
import time

from gensim.models import Word2Vec

for name, skip_gram in (("skip-gram", 1), ("cbow", 0)):
    for workers in (1, 2):
        model = Word2Vec(vector_size=100, window=5, negative=5, min_count=5, sg=skip_gram, workers=workers, seed=1)
        model.build_vocab(corpus_file=sys.argv[1])
        start = time.perf_counter()
        words = model.corpus_total_words
        model.train(corpus_file=sys.argv[1], total_words=words, epochs=1)
        seconds = time.perf_counter() - start
        row = {"name": f"gensim {name}, {workers} threads", "seconds": round(seconds, 2), "words/s": round(words / seconds)}
        print(json.dumps(row), flush=True)
