"""What costs money or is not ours, over a real socket: the OpenAI API and web sites."""
