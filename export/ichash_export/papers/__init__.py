"""What is about papers: recipes with their settings, published figures, and reproducing them."""
