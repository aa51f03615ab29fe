from dermanode.cli import main

raise SystemExit(main())
