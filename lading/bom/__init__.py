"""What is in an image: its packages and its model, and the bill of materials (SBOM) that lists them."""
