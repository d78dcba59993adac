"""What all pages share: templates, style sheet, script, and how numbers and names are written."""
