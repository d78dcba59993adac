"""What people read: charts, pages, boards, reports, the explorer and the site, written from scores and tables."""
