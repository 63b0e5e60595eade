"""`python -m lidardistill`, the form that torchrun launches."""

from lidardistill.cli.main import main

if __name__ == "__main__":
    main()
