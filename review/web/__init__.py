"""The review as a web application: pages made on the server, one style sheet, one script."""
