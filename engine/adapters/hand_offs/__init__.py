"""Those who take steps of worklists over: folders of files, and programs with an API."""
