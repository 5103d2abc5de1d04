"""`python -m engine.testing.dictionary`: make the data of `engine.hl7.dictionary` anew."""

from engine.testing.dictionary.generate import main

if __name__ == "__main__":
    main()
