"""Reports: questions that people ask of tables and boards, answered with numbers, a picture and the command that made them.

One file per report; what is computed is stored as JSON beside the page, so that pages are made again without computing.
"""
