"""Coverage-guided fuzzing: ``python -m fuzz TARGET`` looks for inputs that get a wrong verdict; see L{fuzz.targets}."""
