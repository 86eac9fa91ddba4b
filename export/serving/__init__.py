"""TF Serving: the folder its model server takes, a stand-in for that server, calls to either."""
