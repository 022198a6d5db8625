"""Learning from weak labels: networks, activation maps, losses, training. Needs torch (the extra ``train``).

Data flows one way here too: data -> networks -> maps, losses -> training -> methods. Nothing of the core imports this
package; what a trained network has to say leaves it as an ONNX file and is scored by the engine.
"""
